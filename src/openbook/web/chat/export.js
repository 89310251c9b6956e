/** Conversations as JSON lines, in the form that `openbook train --conversations` reads. */

import { shownPath } from "./tree.js";

/** @typedef {import("./tree.js").Conversation} Conversation */

/**
 * The line of a conversation: the branch that is shown, up to its last answer. Empty where there is no answer to learn.
 * @param {Conversation} conversation
 */
export function exportLine(conversation) {
  const path = shownPath(conversation);
  const end = path.findLastIndex(({ role, text }) => role === "assistant" && text);
  if (end < 0) return "";
  const said = path.slice(0, end + 1);
  if (conversation.mode === "text") {
    const text = said.slice(0, end).map((message) => message.text).join("");
    return `${JSON.stringify({ prompt: text, completion: said[end].text })}\n`;
  }
  const messages = said.filter(({ text }) => text).map(({ role, text }) => ({ role, content: text }));
  const system = said[end].system ?? conversation.system;
  if (system) messages.unshift({ role: /** @type {any} */ ("system"), content: system });
  return `${JSON.stringify({ messages })}\n`;
}

/** A name for a file, of letters and digits. @param {string} title */
export function fileName(title) {
  return `${title.normalize("NFKD").replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-+|-+$/g, "").slice(0, 40) || "conversation"}.jsonl`;
}
