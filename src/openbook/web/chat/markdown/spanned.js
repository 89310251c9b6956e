/** A text that knows where each of its characters stands in the source, so that a token can be found in what is drawn. */

export class Spanned {
  /** @param {string} text @param {number[]} at  the place in the source of each UTF-16 unit */
  constructor(text, at) {
    this.text = text;
    this.at = at;
  }

  /** @param {string} text */
  static of(text) {
    return new Spanned(text, Array.from({ length: text.length }, (_, i) => i));
  }

  /** @param {Spanned[]} parts */
  static join(parts) {
    return new Spanned(parts.map((part) => part.text).join(""), parts.flatMap((part) => part.at));
  }

  get length() {
    return this.text.length;
  }

  /** @param {number} from @param {number} [to] */
  slice(from, to) {
    return new Spanned(this.text.slice(from, to), this.at.slice(from, to));
  }

  trim() {
    const from = this.text.length - this.text.trimStart().length;
    return this.slice(from, Math.max(from, this.text.trimEnd().length));
  }

  /** The lines, each with the line end that it had, if any. @returns {Spanned[]} */
  lines() {
    const lines = [];
    for (let from = 0; from < this.text.length;) {
      const end = this.text.indexOf("\n", from);
      const to = end < 0 ? this.text.length : end + 1;
      lines.push(this.slice(from, to));
      from = to;
    }
    return lines;
  }

  /** Without so many columns of blanks at the beginning. A tab fills up to the next multiple of four. @param {number} columns */
  outdent(columns) {
    let column = 0;
    let i = 0;
    for (; i < this.text.length && column < columns; i++) {
      if (this.text[i] === " ") column += 1;
      else if (this.text[i] === "\t") column += 4 - (column % 4);
      else break;
    }
    const rest = this.slice(i);
    const left = column - columns;  // what a tab had more than was asked for
    return left > 0 ? new Spanned(" ".repeat(left) + rest.text, [...Array(left).fill(this.at[i - 1]), ...rest.at]) : rest;
  }
}

/** Columns of blanks at the beginning. @param {string} line */
export function indentOf(line) {
  let column = 0;
  for (const character of line) {
    if (character === " ") column += 1;
    else if (character === "\t") column += 4 - (column % 4);
    else break;
  }
  return column;
}
