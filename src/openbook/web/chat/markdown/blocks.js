/** Markdown's blocks: paragraphs, headings, code, quotes, lists, tables, rules. HTML is text like any other.
 *
 * https://spec.commonmark.org/0.31.2/ and GitHub's tables, without what a chat has no use for: references, raw HTML.
 */

import { Spanned, indentOf } from "./spanned.js";

/**
 * @typedef {{type: "paragraph", inline: Spanned} | {type: "heading", level: number, inline: Spanned}
 *   | {type: "code", language: string, text: Spanned} | {type: "quote", blocks: Block[]} | {type: "rule"}
 *   | {type: "list", ordered: boolean, start: number, tight: boolean, items: Block[][]}
 *   | {type: "table", align: string[], head: Spanned[], rows: Spanned[][]}} Block
 */
/** @typedef {{block: Block, next: number}} Found  a block, and the line after it */

const DEEPEST = 12;
const RULE = /^ {0,3}(?:(?:\*[ \t]*){3,}|(?:-[ \t]*){3,}|(?:_[ \t]*){3,})$/;
const HEADING = /^ {0,3}(#{1,6})(?:[ \t]+|$)/;
const FENCE = /^ {0,3}(`{3,}|~{3,})([^\n]*)$/;
const QUOTE = /^ {0,3}>/;
const MARKER = /^( {0,3})([-+*]|\d{1,9}[.)])(?=[ \t]|$)/;
const TABLE_RULE = /^ {0,3}\|?[ \t]*:?-+:?(?:[ \t]*\|[ \t]*:?-+:?)*[ \t]*\|?$/;

/**
 * @param {Spanned[]} lines
 * @param {number} [depth]
 * @returns {{block: Block, from: number, to: number}[]} blocks with the lines they are made of
 */
export function parseBlocks(lines, depth = 0) {
  const found = [];
  for (let at = 0; at < lines.length;) {
    if (isBlank(lines[at])) {
      at += 1;
      continue;
    }
    const { block, next } = readBlock(lines, at, depth);
    found.push({ block, from: at, to: next });
    at = next;
  }
  return found;
}

/** @param {Spanned[]} lines @param {number} at @param {number} depth @returns {Found} */
function readBlock(lines, at, depth) {
  const line = bare(lines[at]);
  if (indentOf(line) >= 4) return readIndented(lines, at);
  const fence = openingFence(line);
  if (fence) return readFence(lines, at, fence);
  const heading = HEADING.exec(line);
  if (heading) return { block: { type: "heading", level: heading[1].length, inline: headingText(lines[at], heading[0].length) }, next: at + 1 };
  if (RULE.test(line)) return { block: { type: "rule" }, next: at + 1 };
  if (depth < DEEPEST && QUOTE.test(line)) return readQuote(lines, at, depth);
  const marker = depth < DEEPEST ? MARKER.exec(line) : null;
  if (marker) return readList(lines, at, depth, marker);
  return readTable(lines, at, depth) ?? readParagraph(lines, at, depth);
}

/** @param {Spanned} line */
const isBlank = (line) => !line.text.trim();

/** A line without its end. @param {Spanned} line */
const bare = (line) => line.text.replace(/\n$/, "");

/** @param {string} line */
function openingFence(line) {
  const fence = FENCE.exec(line);
  return fence && !(fence[1][0] === "`" && fence[2].includes("`")) ? fence : null;
}

/** @param {Spanned[]} lines @param {number} at @param {RegExpExecArray} fence @returns {Found} */
function readFence(lines, at, fence) {
  const indent = indentOf(lines[at].text);
  const end = new RegExp(`^ {0,3}${fence[1][0]}{${fence[1].length},}[ \\t]*$`);
  let to = at + 1;
  while (to < lines.length && !end.test(bare(lines[to]))) to += 1;
  const inside = lines.slice(at + 1, to).map((line) => line.outdent(indent));
  return { block: { type: "code", language: fence[2].trim().split(/\s/)[0], text: Spanned.join(inside) }, next: Math.min(lines.length, to + 1) };
}

/** @param {Spanned[]} lines @param {number} at @returns {Found} */
function readIndented(lines, at) {
  let to = at;
  for (let i = at; i < lines.length && (isBlank(lines[i]) || indentOf(lines[i].text) >= 4); i++) {
    if (!isBlank(lines[i])) to = i + 1;
  }
  return { block: { type: "code", language: "", text: Spanned.join(lines.slice(at, to).map((line) => line.outdent(4))) }, next: to };
}

/** @param {Spanned} line @param {number} from */
function headingText(line, from) {
  const text = line.slice(from).trim();
  const closing = /(?:^|[ \t])#+$/.exec(text.text);
  return closing ? text.slice(0, closing.index).trim() : text;
}

/** @param {Spanned[]} lines @param {number} at @param {number} depth @returns {Found} */
function readQuote(lines, at, depth) {
  const inside = [];
  let to = at;
  for (; to < lines.length; to++) {
    const mark = QUOTE.exec(bare(lines[to]));
    if (!mark && !(inside.length && goesOn(lines, to, inside, depth))) break;
    const rest = mark ? lines[to].slice(mark[0].length) : lines[to];
    inside.push(mark && /^[ \t]/.test(rest.text) ? rest.outdent(1) : rest);
  }
  return { block: { type: "quote", blocks: parseBlocks(inside, depth + 1).map((each) => each.block) }, next: to };
}

/**
 * Whether a line goes on with the paragraph that ends what was read, though it is not marked as a part of it.
 * @param {Spanned[]} lines @param {number} at @param {Spanned[]} before @param {number} depth
 */
function goesOn(lines, at, before, depth) {
  if (isBlank(lines[at]) || startsBlock(lines, at, depth)) return false;
  let last = bare(/** @type {Spanned} */ (before.at(-1)));
  for (let mark = null; (mark = QUOTE.exec(last) ?? MARKER.exec(last));) last = last.slice(mark[0].length).trimStart();
  if (!last.trim() || HEADING.test(last) || RULE.test(last)) return false;
  return before.slice(-200).filter((line) => openingFence(bare(line).trimStart())).length % 2 === 0;
}

/** @param {Spanned[]} lines @param {number} at @param {number} depth @param {RegExpExecArray} first @returns {Found} */
function readList(lines, at, depth, first) {
  const kind = first[2].slice(-1);
  /** @type {Block[][]} */ const items = [];
  let tight = true;
  let to = at;
  let blankBefore = false;
  for (;;) {
    const marker = to < lines.length && !RULE.test(bare(lines[to])) ? MARKER.exec(bare(lines[to])) : null;
    if (!marker || marker[2].slice(-1) !== kind) break;
    if (blankBefore) tight = false;
    const { inside, next, blank } = readItem(lines, to, depth, marker);
    const found = parseBlocks(inside, depth + 1);
    if (found.some((each, i) => i && inside.slice(found[i - 1].to, each.from).some(isBlank))) tight = false;
    items.push(found.map((each) => each.block));
    blankBefore = blank;
    to = next;
  }
  const start = kind === "." || kind === ")" ? Number.parseInt(first[2], 10) : 1;
  return { block: { type: "list", ordered: first[2].length > 1, start, tight, items }, next: to };
}

/**
 * The lines of an item, without its marker and indentation; `next` is the first line that is not its own.
 * @param {Spanned[]} lines @param {number} at @param {number} depth @param {RegExpExecArray} marker
 */
function readItem(lines, at, depth, marker) {
  const after = lines[at].slice(marker[0].length);
  const blanks = indentOf(bare(after));
  const gap = isBlank(after) || blanks > 4 ? 1 : blanks;
  const width = marker[0].length + gap;
  const inside = [after.outdent(gap)];
  let to = at + 1;
  let blank = isBlank(after);
  for (; to < lines.length; to++) {
    const line = lines[to];
    if (isBlank(line)) {
      if (inside.length === 1 && isBlank(inside[0])) break;  // an item that begins with two blank lines is empty
      inside.push(line);
      blank = true;
      continue;
    }
    if (indentOf(line.text) >= width) inside.push(line.outdent(width));
    else if (!blank && !MARKER.test(bare(line)) && goesOn(lines, to, inside, depth)) inside.push(line);
    else break;
    blank = false;
  }
  while (inside.length > 1 && isBlank(/** @type {Spanned} */ (inside.at(-1)))) inside.pop();
  return { inside, next: to, blank: blank && to > at + 1 };
}

/** The first two lines of a table: its heads and how its columns are aligned. @param {Spanned[]} lines @param {number} at */
function tableHead(lines, at) {
  if (at + 1 >= lines.length || !lines[at].text.includes("|") || !TABLE_RULE.test(bare(lines[at + 1]).trimEnd())) return null;
  const head = cells(lines[at]);
  const align = cells(lines[at + 1]).map(({ text }) => (text.endsWith(":") ? (text.startsWith(":") ? "center" : "end") : text.startsWith(":") ? "start" : ""));
  return align.length === head.length ? { head, align } : null;
}

/** @param {Spanned[]} lines @param {number} at @param {number} depth @returns {Found | null} */
function readTable(lines, at, depth) {
  const found = tableHead(lines, at);
  if (!found) return null;
  const rows = [];
  let to = at + 2;
  for (; to < lines.length && !isBlank(lines[to]) && !interrupts(bare(lines[to]), depth); to++) {
    const row = cells(lines[to]).slice(0, found.head.length);
    while (row.length < found.head.length) row.push(Spanned.of(""));
    rows.push(row);
  }
  return { block: { type: "table", ...found, rows }, next: to };
}

/** @param {Spanned} line @returns {Spanned[]} */
function cells(line) {
  const row = line.trim();
  const found = [];
  let from = row.text.startsWith("|") ? 1 : 0;
  for (let i = from; i <= row.length; i++) {
    if (row.text[i] === "\\") i += 1;
    else if (row.text[i] === "|" || (i === row.length && i > from)) {
      found.push(row.slice(from, i).trim());
      from = i + 1;
    }
  }
  return found;
}

/** @param {Spanned[]} lines @param {number} at @param {number} depth @returns {Found} */
function readParagraph(lines, at, depth) {
  let to = at + 1;
  for (; to < lines.length && !isBlank(lines[to]); to++) {
    const line = bare(lines[to]);
    const under = /^ {0,3}(=+|-+)[ \t]*$/.exec(line);
    if (under) {
      const inline = Spanned.join(lines.slice(at, to)).trim();
      return { block: { type: "heading", level: under[1][0] === "=" ? 1 : 2, inline }, next: to + 1 };
    }
    if (startsBlock(lines, to, depth)) break;
  }
  const inside = lines.slice(at, to).map((line) => line.slice(line.text.length - line.text.trimStart().length));
  return { block: { type: "paragraph", inline: Spanned.join(inside).trim() }, next: to };
}

/** Whether a line begins a block that ends a paragraph before it. @param {Spanned[]} lines @param {number} at @param {number} depth */
function startsBlock(lines, at, depth) {
  return interrupts(bare(lines[at]), depth) || tableHead(lines, at) !== null;
}

/** @param {string} line @param {number} depth */
function interrupts(line, depth) {
  if (indentOf(line) >= 4) return false;
  if (HEADING.test(line) || openingFence(line) || RULE.test(line)) return true;
  if (depth >= DEEPEST) return false;
  const marker = MARKER.exec(line);
  const isItem = marker && line.slice(marker[0].length).trim() && (marker[2].length === 1 || Number.parseInt(marker[2], 10) === 1);
  return Boolean(QUOTE.test(line) || isItem);
}
