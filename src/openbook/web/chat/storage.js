/** Conversations stay in this browser: in IndexedDB, within bounds. */

import { merge } from "./tree.js";

/** @typedef {import("./tree.js").Conversation} Conversation */
/** @typedef {{id: string, title: string, changed: number, size: number}} Summary */

export const LIMIT = 40_000_000;
/** Characters of all conversations together. Of the oldest the tokens go first, which are most of it; texts never do. */

/** @returns {Promise<Storage>} */
export async function openStorage() {
  const request = indexedDB.open("openbook", 1);
  request.onupgradeneeded = () => {
    request.result.createObjectStore("conversations", { keyPath: "id" });
    request.result.createObjectStore("summaries", { keyPath: "id" });
  };
  return new Storage(await done(request));
}

export class Storage {
  /** @param {IDBDatabase} database @param {number} [limit] */
  constructor(database, limit = LIMIT) {
    this.database = database;
    this.limit = limit;
    this.channel = new BroadcastChannel("openbook conversations");
  }

  /** Calls when another tab has changed something. @param {() => void} listener */
  listen(listener) {
    this.channel.onmessage = listener;
  }

  /** Newest first. @returns {Promise<Summary[]>} */
  async list() {
    const found = /** @type {Summary[]} */ (await done(this.begin("readonly").summaries.getAll()));
    return found.sort((a, b) => b.changed - a.changed);
  }

  /** @param {string} id @returns {Promise<Conversation | undefined>} */
  async load(id) {
    return done(this.begin("readonly").conversations.get(id));
  }

  /**
   * Saves, with what another tab has saved of it.
   * @param {Conversation} conversation
   * @throws {Error} there is no room
   */
  async save(conversation) {
    const { conversations, summaries, finished } = this.begin("readwrite");
    const [stored, all] = await Promise.all([done(conversations.get(conversation.id)), done(summaries.getAll())]);
    const merged = stored ? merge(conversation, stored) : conversation;
    const others = /** @type {Summary[]} */ (all).filter(({ id }) => id !== merged.id).sort((a, b) => a.changed - b.changed);
    const size = JSON.stringify(merged).length;
    let total = others.reduce((sum, each) => sum + each.size, size);
    for (const { id } of others) {
      if (total <= this.limit) break;
      const old = await done(conversations.get(id));
      if (!old) continue;
      const before = JSON.stringify(old).length;
      for (const message of Object.values(old.messages)) delete message.tokens;
      put(conversations, summaries, old);
      total -= before - JSON.stringify(old).length;
    }
    if (total > this.limit) throw new Error("this browser's room for conversations is full, so this one is not kept; export and delete some");
    put(conversations, summaries, merged, size);
    await finished;
    this.channel.postMessage("saved");
    return merged;
  }

  /** @param {string} id */
  async remove(id) {
    const { conversations, summaries, finished } = this.begin("readwrite");
    conversations.delete(id);
    summaries.delete(id);
    await finished;
    this.channel.postMessage("removed");
  }

  /** @param {IDBTransactionMode} mode */
  begin(mode) {
    const transaction = this.database.transaction(["conversations", "summaries"], mode);
    const finished = new Promise((resolve, reject) => {
      transaction.oncomplete = resolve;
      transaction.onabort = transaction.onerror = () => reject(new Error("this browser does not keep the conversation; is its disk full?"));
    });
    finished.catch(() => {});
    return { conversations: transaction.objectStore("conversations"), summaries: transaction.objectStore("summaries"), finished };
  }
}

/** @param {IDBObjectStore} conversations @param {IDBObjectStore} summaries @param {Conversation} conversation @param {number} [size] */
function put(conversations, summaries, conversation, size = JSON.stringify(conversation).length) {
  conversations.put(conversation);
  summaries.put({ id: conversation.id, title: conversation.title, changed: conversation.changed, size });
}

/** @param {IDBRequest} request @returns {Promise<any>} */
function done(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(new Error("this browser keeps no conversations (private window?)"));
  });
}
