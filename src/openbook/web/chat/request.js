/** What the server is asked for a message: the same for writing it and for looking inside. */

import { pathTo } from "./tree.js";

/** @typedef {import("./tree.js").Conversation} Conversation */
/** @typedef {import("./tree.js").Message} Message */
/** @typedef {{path: string, body: Record<string, any>}} Request */

/** Runners-up of each token. */
const ALTERNATIVES = 8;

/**
 * @param {Conversation} conversation
 * @param {Message} message  of the model
 * @returns {Request}
 */
export function requestFor(conversation, message) {
  const before = pathTo(conversation, message.id);
  const begun = message.begun?.text ?? "";
  const body = { model: message.model, ...message.settings };
  if (conversation.mode === "text") {
    return { path: "/v1/completions", body: { ...body, prompt: before.map(({ text }) => text).join("") + begun } };
  }
  const messages = before.filter(({ text }) => text).map(({ role, text }) => ({ role: /** @type {string} */ (role), content: text }));
  if (message.system) messages.unshift({ role: "system", content: message.system });
  if (!begun) return { path: "/v1/chat/completions", body: { ...body, messages } };
  messages.push({ role: "assistant", content: begun });
  return { path: "/v1/chat/completions", body: { ...body, messages, continue_final_message: true, add_generation_prompt: false } };
}

/** The fields that bring the tokens along. @param {Conversation} conversation */
export function withTokens({ mode }) {
  return mode === "text" ? { logprobs: ALTERNATIVES } : { logprobs: true, top_logprobs: ALTERNATIVES };
}

/**
 * Whether the step that chose a token can be recorded again: the ids of all tokens up to it are known.
 * @param {Message} message
 * @param {number} index
 */
export function canLookInside(message, index) {
  const given = message.begun?.tokens ?? 0;
  return index >= given && (message.tokens ?? []).slice(given, index + 1).every(({ id }) => id !== null);
}

/**
 * What /v1/explain is asked: the request, the tokens written up to the one that is looked at, and which one it is.
 * @param {Conversation} conversation
 * @param {Message} message
 * @param {number} index
 */
export function explainBody(conversation, message, index) {
  const given = message.begun?.tokens ?? 0;
  const written = (message.tokens ?? []).slice(given, index + 1).map(({ id }) => id);
  return { ...requestFor(conversation, message).body, written, token: index - given };
}
