/** Where a message is written; while the model writes, its button stops it. */

import { button, el } from "../../page/dom.js";
import { shownPath } from "../tree.js";

/** @typedef {import("../app.js").App} App */

export class Composer {
  /** @param {App} app @param {HTMLElement} place @param {() => void} editLast */
  constructor(app, place, editLast) {
    this.app = app;
    this.text = /** @type {HTMLTextAreaElement} */ (el("textarea", { rows: 1, dir: "auto", "aria-label": "Message", maxlength: 1_000_000 }));
    this.act = button("Send", () => this.press(), { class: "main act" });
    this.hint = el("small.soft.hint");
    this.text.addEventListener("input", () => this.draw());
    this.text.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        if (!app.writing) this.press();
      } else if (event.key === "ArrowUp" && !this.text.value) {
        event.preventDefault();
        editLast();
      }
    });
    place.replaceChildren(el("div.composer-row", {}, this.text, this.act), this.hint);
  }

  press() {
    if (this.app.writing) return this.app.stop();
    const text = this.isText ? this.text.value : this.text.value.trim();
    if (!this.canSend(text)) return;
    this.text.value = "";
    this.app.send(text);
    this.text.focus();
  }

  get isText() {
    return this.app.conversation.mode === "text";
  }

  /** A text goes on without anything new. @param {string} text */
  canSend(text) {
    return Boolean(this.app.model && (text || (this.isText && shownPath(this.app.conversation).at(-1)?.text)));
  }

  draw() {
    const { writing } = this.app;
    const begun = shownPath(this.app.conversation).length > 0;
    const goesOn = this.isText && begun && !this.text.value;
    this.text.placeholder = this.isText ? (begun ? "More text, or nothing, and the model goes on" : "A text that the model continues") : "Say something";
    this.act.textContent = writing ? "Stop" : goesOn ? "Go on" : this.isText ? "Continue" : "Send";
    this.act.title = writing ? "Stop (Escape)" : "Send (Enter)";
    /** @type {HTMLButtonElement} */ (this.act).disabled = !writing && !this.canSend(this.text.value.trim());
    this.hint.textContent = this.isText ? "The text goes to the model as it is, without a chat template." : "";
    this.text.style.height = "auto";
    this.text.style.height = `${Math.min(260, this.text.scrollHeight + 2)}px`;
  }

  focus() {
    this.text.focus();
  }
}
