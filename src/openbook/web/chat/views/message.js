/** One message: who says it, what it says, and what can be done with it. */

import { button, el, keepingFocus } from "../../page/dom.js";
import { plural } from "../../page/format.js";
import { copyText } from "../clipboard.js";
import { children } from "../tree.js";
import { Body } from "./body.js";

/** @typedef {import("../app.js").App} App */
/** @typedef {import("../tree.js").Message} Message */

export class MessageView {
  /** @param {App} app @param {Message} message @param {import("./token_card.js").TokenCard} card */
  constructor(app, message, card) {
    this.app = app;
    this.message = message;
    const isText = app.conversation.mode === "text";
    this.body = new Body(message, isText || message.role === "user", card);
    const name = message.role === "user" ? (isText ? "Text" : "You") : (message.model ?? "model");
    this.status = el("div.status");
    this.tools = el("div.tools.message-tools");
    this.element = el(`article.message.from-${message.role}${isText ? ".as-text" : ""}`, { "aria-label": `${name}` },
      el("div.message-head", {}, el("bdi.who", {}, name)), this.body.element, this.status, this.tools);
    this.body.draw(true);
    this.draw();
  }

  /** The message has been written. */
  finish() {
    this.body.draw(true);
    this.draw();
  }

  /** What is around the text. */
  draw() {
    const { message, app } = this;
    const writing = app.writing?.message === message ? app.writing : null;
    this.element.classList.toggle("writing", writing !== null);
    this.element.setAttribute("aria-busy", String(writing !== null));
    this.drawStatus();
    keepingFocus(() => this.tools.replaceChildren(...(writing ? [] : this.toolButtons())));
  }

  drawStatus() {
    const { message, app } = this;
    const writing = app.writing?.message === message ? app.writing : null;
    if (writing?.waiting) {
      const seconds = Math.max(0, Math.ceil((writing.waiting.until - Date.now()) / 1000));
      this.status.replaceChildren(el("span.problem", {}, `${sentence(writing.waiting.why)} Asked again in ${seconds} s. `), button("Ask now", () => writing.askNow(), { "data-focus": `now ${message.id}` }));
    } else if (writing) this.status.replaceChildren(...(message.text ? [] : [el("span.soft.thinking", {}, "reading the prompt…")]));
    else this.status.replaceChildren(...this.ended());
  }

  /** @returns {Node[]} */
  ended() {
    const { message } = this;
    if (message.role === "user") return [];
    const count = message.tokens?.length ?? 0;
    const speed = message.seconds && message.seconds > 0.1 && count > 1 ? `, ${(count / message.seconds).toFixed(count / message.seconds < 10 ? 1 : 0)} a second` : "";
    const why = { length: "The limit on its tokens ended it.", stopped: "Stopped.", edited: "Edited by you.", timeout: "The server's time limit ended it." }[message.end ?? ""] ?? "";
    const problem = message.problem ? el("span.problem", { role: "alert" }, `${sentence(message.problem)} `) : null;
    const empty = !message.text && !problem && message.end !== "stopped" ? "The model ended the answer at once." : "";
    return [problem, el("small", {}, [why || empty, count ? `${plural(count, "token")}${speed}` : ""].filter(Boolean).join(" · "))].filter((node) => node !== null);
  }

  toolButtons() {
    const { message, app } = this;
    const busy = app.writing !== null;
    const mine = message.role === "user";
    const siblings = children(app.conversation, message.parent);
    const at = siblings.indexOf(message);
    const name = (/** @type {string} */ what) => ({ "data-focus": `${what} ${message.parent} ${message.role}` });
    const branches = siblings.length < 2 ? null : el("span.branches", { role: "group", "aria-label": "Branches" },
      button("‹", () => app.turn(message, -1), { disabled: at === 0, "aria-label": "Previous branch", title: "Previous branch ([)", ...name("previous") }),
      el("span", {}, `${at + 1}/${siblings.length}`),
      button("›", () => app.turn(message, 1), { disabled: at === siblings.length - 1, "aria-label": "Next branch", title: "Next branch (])", ...name("next") }));
    const copy = button("copy", () => copyText(copy, message.text), name("copy"));
    return [
      branches,
      button("edit", () => this.edit(), { disabled: busy, title: mine ? "Edit, and have it answered (E)" : "Edit, as a branch beside it", ...name("edit") }),
      mine ? null : button(message.end === "broken" ? "try again" : "again", () => app.regenerate(message), { disabled: busy || !app.model, title: "Another answer (R)", ...name("again") }),
      message.text ? copy : null,
      message.tokens?.length ? button("tokens", () => this.toggleTokens(), { "aria-pressed": this.body.asTokens, title: "Every token, and how probable it was (T)", ...name("tokens") }) : null,
    ].filter((node) => node !== null);
  }

  /** As if a button had been pressed: edit, again, previous, next, tokens. @param {string} name */
  press(name) {
    /** @type {HTMLElement | null} */ (this.tools.querySelector(`[data-focus^="${name} "]`))?.click();
  }

  toggleTokens() {
    this.body.asTokens = !this.body.asTokens;
    this.body.card.hide();
    this.finish();
    if (this.body.asTokens) /** @type {HTMLElement | null} */ (this.body.element.querySelector("button.t"))?.focus();
  }

  edit() {
    const { message, app } = this;
    const text = /** @type {HTMLTextAreaElement} */ (el("textarea", { "aria-label": "Edit the message", dir: "auto" }));
    text.value = message.text;
    text.rows = Math.min(20, message.text.split("\n").length + 1);
    const done = () => {
      form.remove();
      this.element.classList.remove("editing");
      /** @type {HTMLElement | null} */ (this.tools.querySelector('[data-focus^="edit "]'))?.focus();
    };
    const keep = () => {
      const given = text.value;
      if (!given.trim() || app.writing) return;
      done();
      app.edit(message, given);
    };
    const form = el("div.edit", {}, text, el("div.row", {},
      button(message.role === "user" ? "Send" : "Keep", keep, { class: "main", title: "Ctrl Enter" }), button("Cancel", done)));
    form.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) keep();
      if (event.key !== "Escape") return;
      event.stopPropagation();
      done();
    });
    this.element.classList.add("editing");
    this.body.element.after(form);
    text.focus();
  }
}

/** @param {string} text */
function sentence(text) {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}${/[.?!]$/.test(text) ? "" : "."}`;
}
