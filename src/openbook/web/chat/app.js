/** What the page knows and does; the views draw it and call it. */

import { fetchModels } from "./api.js";
import { inThisBrowser } from "./remember.js";
import { add, children, newConversation, shownPath } from "./tree.js";
import { Writing } from "./writing.js";

/** @typedef {import("./api.js").Model} Model */
/** @typedef {import("./storage.js").Storage} Storage */
/** @typedef {import("./tree.js").Conversation} Conversation */
/** @typedef {import("./tree.js").Message} Message */
/** @typedef {"models" | "list" | "conversation" | "writing" | "problem"} What  has changed */

/** Milliseconds between two savings of a message that is being written. */
const SAVE_EVERY = 2000;
const MODEL = "openbook model";

export class App {
  /** @param {Storage | null} storage  null where the browser keeps nothing */
  constructor(storage) {
    this.storage = storage;
    /** @type {Model[]} */ this.models = [];
    /** @type {import("./storage.js").Summary[]} */ this.summaries = [];
    this.conversation = newConversation("", "chat");
    /** By the conversation's id. @type {Map<string, Writing>} */
    this.writings = new Map();
    /** One line each, by what they are about. @type {Map<string, string>} */
    this.problems = new Map();
    if (!storage) this.problems.set("storage", "This browser keeps no conversations (a private window?): they are lost when the page is closed.");
    /** @type {((what: What) => void)[]} */
    this.listeners = [];
    this.savedAt = 0;
  }

  /** @param {(what: What) => void} listener */
  listen(listener) {
    this.listeners.push(listener);
  }

  /** @param {What} what */
  emit(what) {
    for (const listener of this.listeners) listener(what);
  }

  /** The model of the conversation; null where the server has it no more. @returns {Model | null} */
  get model() {
    return this.models.find(({ id }) => id === this.conversation.model) ?? null;
  }

  get writing() {
    return this.writings.get(this.conversation.id) ?? null;
  }

  async loadModels() {
    this.models = await fetchModels();
    if (!this.model && !Object.keys(this.conversation.messages).length) this.startNew(false);
    this.emit("models");
  }

  async loadList() {
    if (this.storage) this.summaries = await this.storage.list();
    this.emit("list");
  }

  /** Begin a conversation with the model that was chosen last. @param {boolean} [push]  whether the address changes */
  startNew(push = true) {
    const last = this.conversation.model || inThisBrowser.get(MODEL);
    const model = this.models.find(({ id }) => id === last) ?? this.models[0];
    const { settings, system } = this.conversation;
    this.conversation = { ...newConversation(model?.id ?? "", model?.chats === false ? "text" : "chat"), settings: { ...settings }, system };
    if (push) history.pushState(null, "", location.pathname);
    this.emit("conversation");
  }

  /** @param {string} id */
  async open(id) {
    const running = this.writings.get(id);
    const found = running?.conversation ?? (await this.storage?.load(id));
    if (!found) {
      this.report("This conversation is not in this browser (any more).");
      return this.startNew(false);
    }
    for (const message of Object.values(found.messages)) if (message.role === "assistant" && !running) message.end ??= "stopped";
    this.conversation = found;
    this.emit("conversation");
  }

  /** Another model answers from here on; one that cannot hold this conversation begins another. @param {string} id */
  setModel(id) {
    const chosen = this.models.find((model) => model.id === id);
    if (!chosen) return;
    inThisBrowser.set(MODEL, id);
    const isBegun = Object.keys(this.conversation.messages).length > 0;
    const cannot = chosen.translates || (!chosen.chats && this.conversation.mode === "chat");
    if (isBegun && cannot) this.startNew();
    this.conversation.model = id;
    if (!isBegun || cannot) this.conversation.mode = chosen.chats ? "chat" : "text";
    this.emit("conversation");
  }

  /** Another mode is another conversation, once something was said. @param {import("./tree.js").Mode} mode */
  setMode(mode) {
    if (mode !== this.conversation.mode && Object.keys(this.conversation.messages).length) this.startNew();
    this.conversation.mode = mode;
    this.emit("conversation");
  }

  /** Say something, and let the model answer. Without a text the model goes on. @param {string} text */
  send(text) {
    if (this.writing || !this.model) return;
    let parent = shownPath(this.conversation).at(-1)?.id ?? "";
    if (text) parent = add(this.conversation, { parent, role: "user", text: text.toWellFormed() }).id;
    if (parent) this.answer(parent);
  }

  /** Another text beside a message: of a person it is answered, of the model it stands. @param {Message} message @param {string} text */
  edit(message, text) {
    if (this.writing) return;
    const { parent, role, model, system, settings } = message;
    const mine = role === "user";
    const added = add(this.conversation, { parent, role, text: text.toWellFormed(), ...(mine ? {} : { model, system, settings, end: "edited" }) });
    if (mine && this.model) this.answer(added.id);
    else this.changed();
  }

  /** Another answer beside this one; one that broke off begins where a person let it begin. @param {Message} message */
  regenerate(message) {
    const { parent, begun, tokens, end } = message;
    const same = begun && end === "broken" ? { text: begun.text, tokens: tokens?.slice(0, begun.tokens), begun } : {};
    if (!this.writing && this.model) this.answer(parent, same);
  }

  /**
   * Another answer that is the same up to a token, takes another one there, and goes on from it.
   * @param {Message} message @param {number} index @param {import("./tokens.js").Choice} choice @param {string} text  up to the token
   */
  takeInstead(message, index, choice, text) {
    if (this.writing || !this.model) return;
    const top = message.tokens?.[index].top ?? [];
    const tokens = [...(message.tokens ?? []).slice(0, index), { ...choice, bytes: null, top }];
    const begun = text + choice.text;
    this.answer(message.parent, { text: begun, tokens, begun: { text: begun, tokens: tokens.length } });
  }

  /** @param {string} parent @param {Partial<Message>} [begun] */
  async answer(parent, begun = {}) {
    const { conversation } = this;
    const { model, settings, system } = conversation;
    const seed = settings.seed ?? crypto.getRandomValues(new Uint32Array(1))[0];  // so that its steps can be recorded again
    const message = add(conversation, { parent, role: "assistant", text: "", tokens: [], model, settings: { ...settings, seed }, system, ...begun });
    const writing = new Writing(conversation, message, () => {
      if (Date.now() - this.savedAt > SAVE_EVERY && this.writings.has(conversation.id)) this.save(conversation);
      this.emit("writing");
    });
    this.writings.set(conversation.id, writing);
    this.emit("conversation");
    await this.save(conversation);
    if (location.hash !== `#c=${conversation.id}` && conversation === this.conversation) history.replaceState(null, "", `#c=${conversation.id}`);
    await writing.run();
    if (!this.writings.delete(conversation.id)) return;  // removed meanwhile
    conversation.changed = Date.now();
    await this.save(conversation);
    if (conversation === this.conversation) this.emit("conversation");
  }

  stop() {
    this.writing?.stop();
  }

  /** Show the branch so many beside the one that is shown. @param {Message} message @param {number} by */
  turn(message, by) {
    const siblings = children(this.conversation, message.parent);
    const next = siblings[siblings.indexOf(message) + by];
    if (!next) return;
    this.conversation.shown[message.parent] = next.id;
    this.conversation.changed = Date.now();
    this.changed();
  }

  /** After a change of the conversation that is shown. */
  changed() {
    this.emit("conversation");
    if (Object.keys(this.conversation.messages).length) this.save(this.conversation);
  }

  /** @param {string} id @param {string} title */
  async rename(id, title) {
    const found = id === this.conversation.id ? this.conversation : await this.storage?.load(id);
    if (!found) return;
    found.title = title.toWellFormed().trim().slice(0, 200) || "untitled";
    found.changed = Date.now();
    await this.save(found);
    if (found === this.conversation) this.emit("conversation");
  }

  /** @param {string} id */
  async remove(id) {
    this.writings.get(id)?.stop();
    this.writings.delete(id);
    await this.storage?.remove(id);
    if (id === this.conversation.id) this.startNew();
    await this.loadList();
  }

  /** @param {Conversation} conversation */
  async save(conversation) {
    this.savedAt = Date.now();
    try {
      if (!this.storage) return;
      await this.storage.save(conversation);
      await this.loadList();
      this.report("", "storage");
    } catch (error) {
      this.report(error instanceof Error ? error.message : String(error), "storage");
    }
  }

  /** @param {string} problem  one line; empty when it has passed @param {string} [about] */
  report(problem, about = "last") {
    if (problem) this.problems.set(about, problem);
    else this.problems.delete(about);
    this.emit("problem");
  }
}
