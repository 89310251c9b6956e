/** The text of a message: as Markdown, as plain text, or token by token. Tokens can be pointed at in all of them. */

import { el } from "../../page/dom.js";
import { percent } from "../../page/format.js";
import { renderMarkdown } from "../markdown/render.js";
import { Spanned } from "../markdown/spanned.js";
import { Spelling, visible } from "../tokens.js";

/** @typedef {import("../tree.js").Message} Message */
/** @typedef {import("./token_card.js").TokenCard} TokenCard */

export class Body {
  /** @param {Message} message @param {boolean} plain  without Markdown @param {TokenCard} card */
  constructor(message, plain, card) {
    this.message = message;
    this.plain = plain;
    this.card = card;
    this.spelling = new Spelling(message.tokens);
    this.asTokens = false;
    this.element = el("div.body", { dir: "auto" });
    /** @type {{from: number, source: string, node: Node}[]} */
    this.drawn = [];
    this.listen();
  }

  listen() {
    const { element, card } = this;
    const token = (/** @type {Event} */ event) => /** @type {HTMLElement | null} */ (event.target instanceof Element ? event.target.closest(".t") : null);
    element.addEventListener("pointerover", (event) => {
      const over = token(event);
      if (over && event.pointerType === "mouse") this.open(over, false);
    });
    element.addEventListener("pointerout", (event) => token(event) && card.leave());
    element.addEventListener("click", (event) => {
      const pressed = token(event);
      if (pressed && !getSelection()?.toString()) this.open(pressed, true);
    });
    element.addEventListener("focusin", (event) => {
      const focused = token(event);
      if (focused?.matches(":focus-visible")) this.open(focused, false);
    });
    element.addEventListener("focusout", (event) => token(event) && card.leave());
    element.addEventListener("keydown", (event) => this.walk(event));
  }

  /** @param {HTMLElement} token @param {boolean} pin */
  open(token, pin) {
    const indices = String(token.dataset.tokens).split(",").map(Number);
    const piece = this.spelling.pieces.find(({ tokens }) => tokens[0] === indices[0] && tokens.length === 1);
    const offset = this.spelling.offsetOf(this.message.text);
    const before = piece && offset >= 0 && piece.from >= offset ? this.message.text.slice(0, piece.from - offset) : null;
    this.card.show(token, this.message, indices, before, pin);
  }

  /** Arrow keys among the tokens: one of them has a place in the order of Tab. @param {KeyboardEvent} event */
  walk(event) {
    const tokens = /** @type {HTMLElement[]} */ ([...this.element.querySelectorAll("button.t")]);
    const at = tokens.indexOf(/** @type {HTMLElement} */ (event.target));
    const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: tokens.length - 1 }[event.key];
    if (at < 0 || to === undefined || !tokens[to]) return;
    event.preventDefault();
    tokens[at].tabIndex = -1;
    tokens[to].tabIndex = 0;
    tokens[to].focus();
  }

  /** Draws what has changed since the last time. @param {boolean} [all]  draws everything anew */
  draw(all = false) {
    const tokens = this.message.tokens ?? [];
    if (all) this.spelling = new Spelling(tokens);
    else this.spelling.push(tokens.slice(this.spelling.count));
    if (this.asTokens) return this.element.replaceChildren(this.tokenList());
    const blocks = this.plain ? plainBlocks(this.message.text) : renderMarkdown(this.message.text);
    const offset = this.spelling.offsetOf(this.message.text);
    const before = all ? [] : this.drawn;
    let same = 0;
    while (same < before.length && same < blocks.length && before[same].from === blocks[same].from && before[same].source === blocks[same].source) same += 1;
    const fresh = blocks.slice(same).map(({ from, source, draw }) => ({ from, source, node: draw((text) => this.leaf(text, offset)) }));
    const kept = before.slice(0, same);
    if (all) this.element.replaceChildren();
    else for (const old of before.slice(same)) /** @type {ChildNode} */ (old.node).remove();
    this.element.append(...fresh.map(({ node }) => node));
    this.drawn = [...kept, ...fresh];
  }

  /** Text with an element around each token. @param {Spanned} text @param {number} offset  of the text in what the tokens spell @returns {Node[]} */
  leaf(text, offset) {
    const { pieces } = this.spelling;
    if (offset < 0 || !pieces.length) return [document.createTextNode(text.text)];
    const nodes = [];
    for (let from = 0; from < text.length;) {
      const { tokens, to: end } = pieces[this.spelling.pieceAt(offset + text.at[from])];
      let to = from + 1;
      while (to < text.length && offset + text.at[to] < end) to += 1;
      nodes.push(el("span.t", { "data-tokens": tokens.join(",") }, text.text.slice(from, to)));
      from = to;
    }
    return nodes;
  }

  /** Every token by itself, the ones of blanks, marks and the end too; the less probable, the darker. */
  tokenList() {
    const items = (this.message.tokens ?? []).map((token, i) => {
      const share = Math.exp(token.logprob);
      const item = el("button.t.one", { type: "button", tabindex: i ? -1 : 0, "data-tokens": i, "aria-label": `${visible(token.text)}, ${percent(share)}` }, el("bdi", {}, visible(token.text)));
      item.style.background = `color-mix(in srgb, var(--orange) ${Math.round((1 - share) * 45)}%, var(--panel))`;
      return token.text.includes("\n") ? [item, el("br")] : [item];
    });
    return el("div.token-list", { role: "group", "aria-label": "Tokens; arrow keys move among them" }, items.flat());
  }
}

/** @param {string} text @returns {ReturnType<typeof renderMarkdown>} */
function plainBlocks(text) {
  return text ? [{ from: 0, source: text, draw: (leaf) => el("div.text", { dir: "auto" }, leaf(Spanned.of(text))) }] : [];
}
