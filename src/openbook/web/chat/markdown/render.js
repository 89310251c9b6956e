/** Markdown as elements. Nothing is ever parsed as HTML; text becomes text nodes, through `leaf`. */

import { el, button } from "../../page/dom.js";
import { copyText } from "../clipboard.js";
import { parseBlocks } from "./blocks.js";
import { parseInline } from "./inline.js";
import { Spanned } from "./spanned.js";

/** @typedef {import("./blocks.js").Block} Block */
/** @typedef {import("./inline.js").Inline} Inline */
/** @typedef {(text: Spanned) => Node[]} Leaf  draws text, for example with a token in each element */

/**
 * The blocks of a text as elements, with the part of the text that each is made of.
 * @param {string} text
 * @returns {{from: number, source: string, draw: (leaf: Leaf) => Node}[]}
 */
export function renderMarkdown(text) {
  const lines = Spanned.of(text).lines();
  return parseBlocks(lines).map(({ block, from, to }) => ({
    from: lines[from].at[0],
    source: lines.slice(from, to).map((line) => line.text).join(""),
    draw: (leaf) => drawBlock(block, leaf),
  }));
}

/** @param {Block} block @param {Leaf} leaf @returns {Node} */
function drawBlock(block, leaf) {
  switch (block.type) {
    case "paragraph": return el("p", { dir: "auto" }, drawInline(parseInline(block.inline), leaf));
    case "heading": return el(`h${Math.min(6, block.level + 2)}.md-h${block.level}`, { dir: "auto" }, drawInline(parseInline(block.inline), leaf));
    case "rule": return el("hr");
    case "code": return drawCode(block, leaf);
    case "quote": return el("blockquote", { dir: "auto" }, block.blocks.map((each) => drawBlock(each, leaf)));
    case "list": return drawList(block, leaf);
    default: return drawTable(block, leaf);
  }
}

/** @param {Extract<Block, {type: "code"}>} block @param {Leaf} leaf */
function drawCode({ language, text }, leaf) {
  const copy = button("copy", () => copyText(copy, text.text), { "aria-label": "Copy this code" });
  return el("div.code", {}, el("div.code-head", {}, el("bdi", {}, language), copy),
    el("pre", { tabindex: 0, dir: "ltr", "aria-label": language ? `Code, ${language}` : "Code" }, el("code", {}, leaf(text))));
}

/** @param {Extract<Block, {type: "list"}>} block @param {Leaf} leaf */
function drawList({ ordered, start, tight, items }, leaf) {
  const rows = items.map((blocks) => el("li", { dir: "auto" }, blocks.flatMap((block) =>
    tight && block.type === "paragraph" ? drawInline(parseInline(block.inline), leaf) : [drawBlock(block, leaf)])));
  return ordered ? el("ol", { start: start === 1 ? null : start }, rows) : el("ul", {}, rows);
}

/** @param {Extract<Block, {type: "table"}>} block @param {Leaf} leaf */
function drawTable({ align, head, rows }, leaf) {
  const row = (/** @type {string} */ tag, /** @type {Spanned[]} */ cells) => el("tr", {}, cells.map((cell, i) =>
    el(`${tag}${align[i] ? `.to-${align[i]}` : ""}`, { dir: "auto", scope: tag === "th" ? "col" : null }, drawInline(parseInline(cell), leaf))));
  return el("div.scroll", { tabindex: 0, role: "region", "aria-label": "Table" }, el("table.md-table", {}, el("thead", {}, row("th", head)), el("tbody", {}, rows.map((cells) => row("td", cells)))));
}

/** @param {Inline[]} parts @param {Leaf} leaf @returns {Node[]} */
function drawInline(parts, leaf) {
  return parts.flatMap((part) => {
    switch (part.type) {
      case "text": return part.text.length ? leaf(part.text) : [];
      case "code": return [el("code", {}, leaf(part.text))];
      case "break": return [el("br")];
      case "link": return [el("a", { href: part.href, target: "_blank", rel: "noopener noreferrer nofollow", title: part.href }, drawInline(part.children, leaf))];
      default: return [el({ strong: "strong", emphasis: "em", deleted: "del" }[part.type], {}, drawInline(part.children, leaf))];
    }
  });
}
