/** The tokens of an answer: what was written, how probable it was, what else could have been; and where it stands. */

/**
 * @typedef {object} Choice  a token that was written, or could have been
 * @property {string} text
 * @property {number | null} id
 * @property {number} logprob
 */
/** @typedef {Choice & {bytes: number[] | null, top: Choice[]}} Token */
/** @typedef {{from: number, to: number, tokens: number[]}} Piece  a part of a text, and the indices of the tokens that spell it */

/** The tokens in a chunk of a chat. @param {any} choice @returns {Token[]} */
export function chatTokens(choice) {
  return (choice.logprobs?.content ?? []).map((/** @type {any} */ each) => ({ ...asChoice(each), bytes: each.bytes ?? null, top: (each.top_logprobs ?? []).map(asChoice) }));
}

/** @param {any} each @returns {Choice} */
function asChoice(each) {
  return { text: String(each.token), id: each.id ?? null, logprob: Number(each.logprob ?? -Infinity) };
}

/** The tokens in a chunk of a completion. @param {any} choice @returns {Token[]} */
export function completionTokens(choice) {
  const { tokens = [], token_logprobs = [], top_logprobs = [], token_ids = [], token_bytes = [] } = choice.logprobs ?? {};
  return tokens.map((/** @type {string} */ text, /** @type {number} */ i) => ({
    text,
    id: token_ids[i] ?? null,
    logprob: Number(token_logprobs[i] ?? -Infinity),
    bytes: token_bytes[i] ?? null,
    top: Object.entries(top_logprobs[i] ?? {}).map(([other, logprob]) => ({ text: other, id: null, logprob: Number(logprob) })),
  }));
}

/** What tokens spell, piece by piece: a piece ends where a character does, so it may be made of several tokens. */
export class Spelling {
  /** @param {Token[]} [tokens] */
  constructor(tokens = []) {
    this.text = "";
    /** @type {Piece[]} */
    this.pieces = [];
    this.decoder = new TextDecoder("utf-8", { ignoreBOM: true });
    /** @type {number[]} */
    this.waiting = [];
    this.count = 0;
    this.push(tokens);
  }

  /** @param {Token[]} tokens */
  push(tokens) {
    for (const token of tokens) {
      this.waiting.push(this.count++);
      const from = this.text.length;
      this.text += token.bytes ? this.decoder.decode(Uint8Array.from(token.bytes), { stream: true }) : token.text;
      if (this.text.length === from) continue;
      this.pieces.push({ from, to: this.text.length, tokens: this.waiting });
      this.waiting = [];
    }
  }

  /**
   * Where a text begins in what the tokens spell; −1 where they do not spell it. A text may lack the blank that its first
   * token begins with, and the token that ended it.
   * @param {string} text
   */
  offsetOf(text) {
    if (this.text.startsWith(text)) return 0;
    const blanks = this.text.length - this.text.trimStart().length;
    return this.text.startsWith(text, blanks) ? blanks : -1;
  }

  /** The index of the piece at a place of the spelled text. @param {number} at */
  pieceAt(at) {
    let [low, high] = [0, this.pieces.length - 1];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.pieces[middle].to <= at) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/** A token as it is written alone: blanks and line ends show. @param {string} text */
export function visible(text) {
  if (!text) return "∅";
  return text.replace(/^ | $/g, "␣").replaceAll("\n", "↵").replaceAll("\t", "⇥")
    .replace(/[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff]/g, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`);
}
