/** The messages of the conversation, along the branch that is shown. */

import { el } from "../../page/dom.js";
import { shownPath } from "../tree.js";
import { MessageView } from "./message.js";

/** @typedef {import("../app.js").App} App */

/** Pixels from the end within which the view follows what is written. */
const NEAR = 80;

export class Talk {
  /** @param {App} app @param {HTMLElement} place @param {HTMLElement} live @param {import("./token_card.js").TokenCard} card */
  constructor(app, place, live, card) {
    this.app = app;
    this.place = place;
    this.live = live;
    this.card = card;
    /** @type {MessageView[]} */
    this.views = [];
    this.shown = "";
    this.frame = 0;
    this.timer = 0;
    this.said = "";
    /** The message that is being written. @type {import("../tree.js").Message | null} */
    this.watched = null;
  }

  get last() {
    return this.views.at(-1) ?? null;
  }

  draw() {
    const { conversation } = this.app;
    const path = shownPath(conversation);
    const isOther = this.shown !== conversation.id + conversation.mode;
    let same = 0;
    while (!isOther && same < path.length && this.views[same]?.message === path[same]) same += 1;
    this.following(() => {
      if (isOther) {
        this.card.hide();
        this.place.replaceChildren();
      }
      for (const view of this.views.splice(same)) view.element.remove();
      if (same === 0) this.place.replaceChildren(...(path.length ? [] : [welcome(this.app)]));
      for (const view of this.views) view.draw();
      for (const message of path.slice(same)) {
        const view = new MessageView(this.app, message, this.card);
        this.views.push(view);
        this.place.append(view.element);
      }
    }, isOther || path.length > same);
    this.shown = conversation.id + conversation.mode;
    const written = this.watched;
    this.watched = this.app.writing?.message ?? null;
    if (written !== this.watched) this.finished(written);
  }

  /** The message that is written has more; drawn once a frame. */
  update() {
    this.frame ||= requestAnimationFrame(() => {
      this.frame = 0;
      const { writing } = this.app;
      const view = this.views.find(({ message }) => message === writing?.message);
      if (!writing || !view) return;
      this.following(() => {
        view.body.draw();
        view.drawStatus();
      });
      this.say(writing.waiting ? writing.waiting.why : "The model is writing.");
      clearTimeout(this.timer);
      if (writing.waiting) this.timer = setTimeout(() => this.update(), 500);
    });
  }

  /** A message that was being written is complete. @param {import("../tree.js").Message | null} message */
  finished(message) {
    const view = this.views.find((each) => each.message === message);
    if (!view) return;
    this.following(() => view.finish());
    this.say(view.message.problem ?? (view.message.text || "The answer is empty."));
  }

  /** For those who hear the page: once, not token by token. @param {string} text */
  say(text) {
    if (text !== this.said) this.live.textContent = text;
    this.said = text;
  }

  /** Changes the messages; who reads the end stays at the end. @param {() => void} change @param {boolean} [toEnd] */
  following(change, toEnd = false) {
    const { place } = this;
    const wasAtEnd = place.scrollHeight - place.scrollTop - place.clientHeight < NEAR;
    change();
    if (wasAtEnd || toEnd) place.scrollTop = place.scrollHeight;
  }
}

/** @param {App} app */
function welcome({ model, conversation, models }) {
  const says = !models.length ? "The server has no model."
    : !model ? `The server has no model ${conversation.model} any more; choose another one above.`
      : conversation.mode === "text" ? "Write the beginning of a text, and the model goes on. Point at a token to see how probable it was and what else could have been."
        : "Ask something. Point at a token of the answer to see how probable it was and what else could have been; look inside to see every number of that step.";
  return el("div.welcome", {}, el("h2", {}, conversation.mode === "text" ? "Continue a text" : `Talk to ${model?.id ?? "a model"}`), el("p.soft", {}, says));
}
