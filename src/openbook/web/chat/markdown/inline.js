/** Markdown inside a line: emphasis, code, links, line breaks. HTML is text like any other. */

import { Spanned } from "./spanned.js";

/**
 * @typedef {{type: "text" | "code", text: Spanned} | {type: "break"} | {type: "strong" | "emphasis" | "deleted", children: Inline[]}
 *   | {type: "link", href: string, children: Inline[]}} Inline
 */
/**
 * @typedef {object} Run  of marks of emphasis, which may open or close one
 * @property {"run"} type
 * @property {Spanned} text  what is left of it
 * @property {boolean} opens
 * @property {boolean} closes
 * @property {number} length  at first
 */
/** @typedef {{type: "bracket", text: Spanned, active: boolean}} Bracket */
/** @typedef {Inline | Run | Bracket} Item */

const FARTHEST = 500;
/** Items between the two ends of an emphasis: what a stranger writes must not take long. */
const LONGEST_ADDRESS = 2000;
const ENTITIES = new Map([["amp", "&"], ["lt", "<"], ["gt", ">"], ["quot", '"'], ["apos", "'"], ["nbsp", "\u00a0"]]);
const ENTITY = /&(?:#(\d{1,7})|#[xX]([0-9a-fA-F]{1,6})|([a-z]{2,4}));/y;
const PLAIN = /(?:[^\\`*_~[\]!<&\nhm]|h(?!ttps?:\/\/)|m(?!ailto:))+/y;
const ADDRESS = /(?:https?:\/\/|mailto:)[^\s<>"`]+/y;
const PUNCTUATION = /[\p{P}\p{S}]/u;

/** @param {Spanned} source @returns {Inline[]} */
export function parseInline(source) {
  return new Reader(source).read();
}

class Reader {
  /** @param {Spanned} source */
  constructor(source) {
    this.source = source;
    this.text = source.text;
    this.at = 0;
    /** @type {Item[]} */
    this.items = [];
    /** What may yet become a link. @type {Bracket[]} */
    this.brackets = [];
    /** Lengths of runs of ` that no more occur. @type {Set<number>} */
    this.unclosed = new Set();
  }

  read() {
    while (this.at < this.text.length) this.readOne();
    return emphasized(this.items);
  }

  readOne() {
    switch (this.text[this.at]) {
      case "\\": return this.escape();
      case "`": return this.code();
      case "*": case "_": case "~": return this.run();
      case "[": return this.bracket(1);
      case "!": return this.text[this.at + 1] === "[" ? this.bracket(2) : this.plain(1);
      case "]": return this.close();
      case "<": return this.angle();
      case "&": return this.entity();
      case "\n": return this.lineEnd();
      default: {
        const length = this.match(PLAIN)?.[0].length;
        return length ? this.plain(length) : this.address();
      }
    }
  }

  /** @param {RegExp} pattern  a sticky one */
  match(pattern) {
    pattern.lastIndex = this.at;
    return pattern.exec(this.text);
  }

  /** @param {number} length */
  plain(length) {
    this.items.push({ type: "text", text: this.source.slice(this.at, this.at + length) });
    this.at += length;
  }

  escape() {
    const next = this.text[this.at + 1] ?? "";
    if (next === "\n") {
      this.at += 2;
      this.items.push({ type: "break" });
    } else if (/[!-/:-@[-`{-~]/.test(next)) {
      this.at += 1;
      this.plain(1);
    } else this.plain(1);
  }

  code() {
    const open = /^`+/.exec(this.text.slice(this.at, this.at + 200))?.[0].length ?? 1;
    const from = this.at + open;
    for (let at = from; !this.unclosed.has(open);) {
      at = this.text.indexOf("`", at);
      if (at < 0) {
        this.unclosed.add(open);
        break;
      }
      let end = at;
      while (this.text[end] === "`") end += 1;
      if (end - at === open) {
        this.at = end;
        const inside = this.source.slice(from, at);
        const text = new Spanned(inside.text.replaceAll("\n", " "), inside.at);
        const isPadded = text.text.startsWith(" ") && text.text.endsWith(" ") && text.text.trim();
        this.items.push({ type: "code", text: isPadded ? text.slice(1, -1) : text });
        return;
      }
      at = end;
    }
    this.plain(open);
  }

  run() {
    const mark = this.text[this.at];
    let end = this.at;
    while (this.text[end] === mark) end += 1;
    const length = end - this.at;
    if (mark === "~" && length !== 2) return this.plain(length);
    const before = [...this.text.slice(Math.max(0, this.at - 2), this.at)].at(-1) ?? " ";
    const after = String.fromCodePoint(this.text.codePointAt(end) ?? 32);
    const [blankBefore, blankAfter] = [!before.trim(), !after.trim()];
    const [markBefore, markAfter] = [PUNCTUATION.test(before), PUNCTUATION.test(after)];
    const left = !blankAfter && (!markAfter || blankBefore || markBefore);
    const right = !blankBefore && (!markBefore || blankAfter || markAfter);
    const opens = left && (mark !== "_" || !right || markBefore);
    const closes = right && (mark !== "_" || !left || markAfter);
    this.items.push({ type: "run", text: this.source.slice(this.at, end), opens, closes, length });
    this.at = end;
  }

  /** @param {number} length  2 where an image begins, which is shown as a link: nothing is loaded from elsewhere */
  bracket(length) {
    /** @type {Bracket} */ const bracket = { type: "bracket", text: this.source.slice(this.at, this.at + length), active: true };
    this.items.push(bracket);
    this.brackets.push(bracket);
    this.at += length;
  }

  close() {
    const bracket = this.brackets.pop();
    const target = bracket?.active ? linkTarget(this.text.slice(this.at + 1, this.at + LONGEST_ADDRESS)) : null;
    if (!bracket || !target) return this.plain(1);
    const from = this.items.lastIndexOf(bracket);
    const children = emphasized(this.items.splice(from + 1));
    const href = safeAddress(target.address);
    this.items.splice(from, 1, ...(href ? [/** @type {Inline} */ ({ type: "link", href, children })] : children));
    const isImage = bracket.text.length === 2;
    if (!isImage) for (const outer of this.brackets) outer.active &&= outer.text.length === 2;  // no link is in a link
    this.at += 1 + target.length;
  }

  angle() {
    const found = /^<((?:https?:\/\/|mailto:)[^\s<>]*)>/.exec(this.text.slice(this.at, this.at + LONGEST_ADDRESS));
    const href = found && safeAddress(found[1]);
    if (!found || !href) return this.plain(1);
    const text = this.source.slice(this.at + 1, this.at + found[0].length - 1);
    this.items.push({ type: "link", href, children: [{ type: "text", text }] });
    this.at += found[0].length;
  }

  /** An address that stands in the text. */
  address() {
    const isInside = /\w/.test(this.text[this.at - 1] ?? "") || this.brackets.length > 0;
    const found = isInside ? null : this.match(ADDRESS);
    const address = found ? withoutEnd(found[0].slice(0, LONGEST_ADDRESS)) : "";
    const href = safeAddress(address);
    if (!href) return this.plain(1);
    this.items.push({ type: "link", href, children: [{ type: "text", text: this.source.slice(this.at, this.at + address.length) }] });
    this.at += address.length;
  }

  entity() {
    const found = this.match(ENTITY);
    const code = found?.[1] ? Number(found[1]) : found?.[2] ? Number.parseInt(found[2], 16) : null;
    const character = code === null ? ENTITIES.get(found?.[3] ?? "") : code > 0 && code < 0x110000 && (code & 0x1ff800) !== 0xd800 ? String.fromCodePoint(code) : "\ufffd";
    if (!found || character === undefined) return this.plain(1);
    const at = this.source.at[this.at];
    this.items.push({ type: "text", text: new Spanned(character, Array(character.length).fill(at)) });
    this.at += found[0].length;
  }

  /** Every end of a line breaks it: what models and people write in a chat has lines. */
  lineEnd() {
    const last = this.items.at(-1);
    if (last?.type === "text") last.text = last.text.slice(0, last.text.text.replace(/ +$/, "").length);
    this.items.push({ type: "break" });
    this.at += 1;
    while (this.text[this.at] === " ") this.at += 1;
  }
}

/**
 * Runs become emphasis, from the inside out; what is left of them is text.
 * @param {Item[]} items
 * @returns {Inline[]}
 */
function emphasized(items) {
  for (let i = 0; i < items.length; i++) {
    const closer = items[i];
    if (closer.type !== "run" || !closer.closes || !closer.text.length) continue;
    let from = i - 1;
    const farthest = Math.max(0, i - FARTHEST);
    while (from >= farthest && !isPair(items[from], closer)) from -= 1;
    if (from < farthest) continue;
    const opener = /** @type {Run} */ (items[from]);
    const strong = opener.text.length >= 2 && closer.text.length >= 2;
    const used = strong ? 2 : 1;
    const type = closer.text.text[0] === "~" ? "deleted" : strong ? "strong" : "emphasis";
    const children = items.slice(from + 1, i).map(asInline);
    opener.text = opener.text.slice(0, opener.text.length - used);
    closer.text = closer.text.slice(used);
    items.splice(from + 1, i - from - 1, { type, children });
    i = closer.text.length ? from + 1 : from + 2;  // what is left of the closer may close another one
  }
  return items.map(asInline);
}

/** @param {Item} opener @param {Run} closer */
function isPair(opener, closer) {
  if (opener.type !== "run" || !opener.opens || !opener.text.length || opener.text.text[0] !== closer.text.text[0]) return false;
  const either = opener.closes || closer.opens;
  return !(either && (opener.length + closer.length) % 3 === 0 && (opener.length % 3 !== 0 || closer.length % 3 !== 0));
}

/** @param {Item} item @returns {Inline} */
function asInline(item) {
  return item.type === "run" || item.type === "bracket" ? { type: "text", text: item.text } : item;
}

/**
 * The "(address "title")" of a link at the beginning of a text.
 * @param {string} text
 */
function linkTarget(text) {
  const start = /^\([ \n]*/.exec(text)?.[0].length;
  if (!start) return null;
  const bracketed = /^<([^<>\n]*)>/.exec(text.slice(start));
  const address = bracketed ? bracketed[1] : text.slice(start, start + balancedLength(text.slice(start)));
  const end = start + (bracketed ? bracketed[0].length : address.length);
  const rest = /^(?:[ \n]+(?:"[^"]*"|'[^']*'))?[ \n]*\)/.exec(text.slice(end));
  return rest ? { address, length: end + rest[0].length } : null;
}

/** How many characters there are before a blank, or before a parenthesis that nothing opened. @param {string} text */
function balancedLength(text) {
  let open = 0;
  for (let i = 0; i < text.length; i++) {
    if (/[\s<>]/.test(text[i])) return i;
    if (text[i] === "(") open += 1;
    if (text[i] === ")" && --open < 0) return i;
  }
  return text.length;
}

/** An address without the marks that end the sentence around it. @param {string} address */
function withoutEnd(address) {
  let end = address;
  for (;;) {
    const shorter = end.replace(/[.,:;!?'*_~\]]+$/, "");
    const closed = shorter.endsWith(")") && balancedLength(shorter) === shorter.length - 1 ? shorter.slice(0, -1) : shorter;
    if (closed === end) return end;
    end = closed;
  }
}

/** An address that a click may open: of the web or of mail, and nothing that runs. @param {string} address @returns {string} empty for others */
function safeAddress(address) {
  try {
    const url = new URL(address);
    return ["http:", "https:", "mailto:"].includes(url.protocol) && address.length > url.protocol.length + 2 ? address : "";
  } catch {
    return "";
  }
}
