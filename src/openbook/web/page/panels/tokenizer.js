/** How the text became tokens, merge by merge. */

import { el } from "../dom.js";
import { plural, word } from "../format.js";
import { card } from "../drawing/card.js";
import { ask, heading, problemLine, table } from "../parts.js";

/** @typedef {import("../scene.js").Scene} Scene */

const MOST_PIECES = 200;

/** @param {Scene} scene @returns {Promise<Node[]>} */
export async function tokenizerPanel(scene) {
  const { found, problem } = await ask(scene, "tokenizer");
  const title = "From text to tokens";
  if (problem) return [...heading(title), problemLine(problem)];
  const pieces = found.words.slice(0, MOST_PIECES);
  const rows = pieces.map((/** @type {any} */ piece) => [
    el("bdi.text", {}, piece.text),
    symbols(piece),
    el("span", {}, piece.tokens.map((/** @type {any} */ token) => el("span.mini", { title: `id ${token.id}` }, el("bdi", {}, word(token)), el("small", {}, ` ${token.id}`)))),
  ]);
  const left = found.words.length - pieces.length + (found.left_out ?? 0);
  const cut = left ? el("p.soft", {}, `${plural(left, "more piece")} ${left === 1 ? "is" : "are"} not listed.`) : null;
  const changed = found.normalised === null ? null : el("p", {}, "Normalised first: ", el("bdi.text", {}, found.text), " → ", el("bdi.text", {}, found.normalised));
  return [
    ...heading(title, `A ${found.kind} tokenizer cuts the text into pieces, then each piece into tokens of its vocabulary. ${found.note ?? ""}`),
    card({ title: plural(found.words.length, "piece"), says: "Each line: a piece, the merges that joined it (the earliest learned first), and the tokens with their ids." }, changed, cut, table(["piece", "merges", "tokens"], rows, title)),
  ];
}

/** The symbols of a piece after each merge. @param {any} piece */
function symbols(piece) {
  const lines = piece.symbols ?? [];
  if (lines.length < 2) return el("span.soft", {}, "a token of its own");
  return el("ol.merges", {}, lines.map((/** @type {string[]} */ line, /** @type {number} */ i) => {
    const merge = i ? piece.merges[i - 1] : null;
    const count = merge?.count === null || merge?.count === undefined ? "" : `, seen ${merge.count.toLocaleString("en")} times in training`;
    const note = merge ? `merge ${merge.rank}${count}` : "characters or bytes";
    return el("li", {}, line.map((symbol) => el("span.symbol", {}, el("bdi", {}, symbol))), el("small.soft", {}, ` ${note}`));
  }));
}
