/** What the model thought at one token: how probable it was, what else could have been, and the way inside. */

import { button, el } from "../../page/dom.js";
import { shareBar, table } from "../../page/parts.js";
import { lookInside } from "../look_inside.js";
import { canLookInside, explainBody } from "../request.js";
import { visible } from "../tokens.js";

/** @typedef {import("../app.js").App} App */
/** @typedef {import("../tree.js").Message} Message */
/** @typedef {import("../tokens.js").Token} Token */

/** Milliseconds for which the card of a token stays that is no longer pointed at. */
const GRACE = 150;

export class TokenCard {
  /** @param {App} app @param {HTMLElement} place */
  constructor(app, place) {
    this.app = app;
    this.place = place;
    /** @type {HTMLElement | null} */ this.anchor = null;
    this.pinned = false;
    this.closing = false;
    this.leaving = 0;
    addEventListener("pointerdown", ({ target }) => {
      const inside = target instanceof Node && (place.contains(target) || this.anchor?.contains(target));
      if (!inside) this.hide();
    });
  }

  /**
   * @param {HTMLElement} anchor  the token on the page
   * @param {Message} message
   * @param {number[]} indices  of the tokens
   * @param {string | null} before  the text before them; null where it is not known
   * @param {boolean} pin  whether it stays, and has the focus; otherwise it only passes by, and covers nothing from the pointer
   */
  show(anchor, message, indices, before, pin) {
    clearTimeout(this.leaving);
    if ((this.pinned || this.closing) && !pin) return;
    this.pinned = pin;
    this.anchor?.classList.remove("at");
    this.anchor = anchor;
    anchor.classList.add("at");
    this.place.classList.toggle("passing", !pin);
    this.place.replaceChildren(...indices.map((index) => this.section(message, index, indices.length === 1 ? before : null)), el("small.soft.passing-hint", {}, "Click for more"));
    this.place.hidden = false;
    this.move();
    if (pin) /** @type {HTMLElement | null} */ (this.place.querySelector("button:not(:disabled)"))?.focus();
  }

  /** Below the token, or above it, inside the window. */
  move() {
    const token = /** @type {HTMLElement} */ (this.anchor).getClientRects()[0];
    if (!token) return;
    const { offsetWidth: width, offsetHeight: height } = this.place;
    const below = token.bottom + 6;
    const top = below + height < innerHeight - 8 ? below : token.top - height - 6;
    this.place.style.left = `${Math.max(8, Math.min(innerWidth - width - 8, token.left - 20))}px`;
    this.place.style.top = `${Math.max(8, Math.min(innerHeight - height - 8, top))}px`;
  }

  leave() {
    clearTimeout(this.leaving);
    if (!this.pinned) this.leaving = setTimeout(() => this.hide(), GRACE);
  }

  /** @param {boolean} [back]  whether the focus goes back to the token */
  hide(back = false) {
    const { anchor } = this;
    this.place.hidden = true;
    this.pinned = false;
    anchor?.classList.remove("at");
    this.anchor = null;
    this.closing = true;  // the token that has the focus again does not open its card again
    if (back) anchor?.focus();
    this.closing = false;
  }

  /** @param {Message} message @param {number} index @param {string | null} before */
  section(message, index, before) {
    const token = /** @type {Token} */ (message.tokens?.[index]);
    const look = this.app.model?.explains && canLookInside(message, index)
      ? button("Look inside", () => lookInside(/** @type {HTMLButtonElement} */ (look), explainBody(this.app.conversation, message, index)), { class: "main", title: "Every number of this step, in a window of its own" })
      : null;
    const rank = token.top.filter(({ logprob }) => logprob > token.logprob).length + 1;
    const name = el("bdi.written", {}, visible(token.text));
    const where = `token ${index + 1}${token.id === null ? "" : `, id ${token.id}`}${rank <= token.top.length ? `, rank ${rank}` : ""}`;
    return el("section", {}, el("div.token-head", {}, name, el("small", {}, where)), shareBar(Math.exp(token.logprob)),
      look && el("div.row", {}, look), this.others(message, index, before));
  }

  /** The runners-up. @param {Message} message @param {number} index @param {string | null} before */
  others(message, index, before) {
    const token = /** @type {Token} */ (message.tokens?.[index]);
    const others = token.top.filter((each) => (each.id === null ? each.text !== token.text : each.id !== token.id));
    if (!others.length) return null;
    const canTake = before !== null && !this.app.writing && this.app.model !== null && message.end !== "edited";
    const rows = others.map((each) => [
      el("bdi.written", {}, visible(each.text)),
      shareBar(Math.exp(each.logprob)),
      canTake && isPlain(each.text)
        ? button("take it", () => {
          this.hide();
          this.app.takeInstead(message, index, each, /** @type {string} */ (before));
        }, { title: "A branch in which the model goes on from this token" }) : "",
    ]);
    return table(["instead", "probability", ""], rows, "Runners-up");
  }
}

/** Whether a token is text that a person could have written: no part of a character, no mark such as <|end|> or [INST]. @param {string} text */
function isPlain(text) {
  return text !== "" && !/\ufffd|\\x[0-9a-f]{2}|^<[^<>]+>$|^\[\/?[A-Z_]+\]$/.test(text);
}
