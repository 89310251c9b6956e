/** A conversation is a tree of messages: whoever edits a message, or asks again, begins a branch beside the old one. */

/** @typedef {import("./tokens.js").Token} Token */
/** @typedef {"chat" | "text"} Mode  "text": a text that is continued, without roles */
/** @typedef {Record<string, number>} Settings  those that differ from the model's own */
/**
 * @typedef {object} Message
 * @property {string} id
 * @property {string} parent  its id; "" for the first
 * @property {"user" | "assistant"} role
 * @property {string} text
 * @property {string} [model]  that wrote it
 * @property {Settings} [settings]
 * @property {string} [system]  prompt that it was written with
 * @property {string} [end]  why it ended: stop, length, stopped, broken; absent while it is written
 * @property {Token[]} [tokens]
 * @property {{text: string, tokens: number}} [begun]  what a person gave of it; the model went on from there
 * @property {number} [seconds]  that it took
 * @property {string} [problem]  that broke it off, for the reader
 */
/**
 * @typedef {object} Conversation
 * @property {string} id
 * @property {string} title
 * @property {number} changed  milliseconds
 * @property {string} model
 * @property {Mode} mode
 * @property {string} system
 * @property {Settings} settings
 * @property {Record<string, Message>} messages
 * @property {Record<string, string>} shown  for a parent the id of the child that is shown, where it is not the last
 */

/** An id that no other tab gives out. */
export function newId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(9)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** @param {string} model @param {Mode} mode @returns {Conversation} */
export function newConversation(model, mode) {
  return { id: newId(), title: "", changed: Date.now(), model, mode, system: "", settings: {}, messages: {}, shown: {} };
}

/** @param {Conversation} conversation @param {string} parent */
export function children({ messages }, parent) {
  return Object.values(messages).filter((message) => message.parent === parent);
}

/** The messages that are shown, from the first to the last. @param {Conversation} conversation @returns {Message[]} */
export function shownPath(conversation) {
  const byParent = Map.groupBy(Object.values(conversation.messages), (message) => message.parent);
  const path = [];
  for (let parent = ""; byParent.has(parent) && path.length < 100_000;) {
    const siblings = /** @type {Message[]} */ (byParent.get(parent));
    const message = siblings.find(({ id }) => id === conversation.shown[parent]) ?? /** @type {Message} */ (siblings.at(-1));
    path.push(message);
    parent = message.id;
  }
  return path;
}

/** The messages before this one. @param {Conversation} conversation @param {string} id @returns {Message[]} */
export function pathTo({ messages }, id) {
  const path = [];
  for (let at = messages[id]?.parent; at && messages[at]; at = messages[at].parent) path.unshift(messages[at]);
  return path;
}

/**
 * Adds a message and shows it.
 * @param {Conversation} conversation
 * @param {Omit<Message, "id">} fields
 * @returns {Message}
 */
export function add(conversation, fields) {
  const message = { id: newId(), ...fields };
  conversation.messages[message.id] = message;
  conversation.shown[message.parent] = message.id;
  conversation.changed = Date.now();
  if (!conversation.title && message.role === "user") conversation.title = titleOf(message.text);
  return message;
}

/** The first words of a text. @param {string} text */
function titleOf(text) {
  const line = text.trim().split("\n")[0];
  return line.length > 60 ? `${line.slice(0, 57).trimEnd()}…` : line;
}

/**
 * Two states of one conversation, as two tabs leave them: no message is lost, and the newer one decides the rest.
 * @param {Conversation} mine
 * @param {Conversation} other
 * @returns {Conversation}
 */
export function merge(mine, other) {
  const [older, newer] = mine.changed < other.changed ? [mine, other] : [other, mine];
  return { ...newer, messages: { ...older.messages, ...newer.messages }, shown: { ...older.shown, ...newer.shown } };
}
