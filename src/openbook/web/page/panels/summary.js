/** The run as one table: layer, what goes in, what comes out, which tensors of the model file it uses. */

import { button, el } from "../dom.js";
import { shapeOf, short, size } from "../format.js";
import { card } from "../drawing/card.js";
import { ask, heading, problemLine, table } from "../parts.js";

/** @typedef {import("../scene.js").Scene} Scene */

/** @param {Scene} scene @returns {Promise<Node[]>} */
export async function summaryPanel(scene) {
  const title = "The whole pass in one table";
  const { found, problem } = await ask(scene, "summary", { step: scene.state.step });
  if (problem) return [...heading(title), problemLine(problem)];
  const numbers = (/** @type {string} */ path, /** @type {number[]} */ shape, /** @type {number[]} */ first) =>
    el("span", { title: path }, first.map((each) => el("span.value.fixed", {}, shape.length === 1 ? `id ${each}` : short(each))), shape.length > 1 && first.length < (shape.at(-1) ?? 1) ? " … " : " ", el("small.soft", {}, shapeOf(shape)));
  const rows = found.rows.map((/** @type {any} */ row) => [
    row.layer === null ? "" : `${row.stack === "encoder" ? "encoder " : ""}${row.layer}`,
    el("b", {}, row.part),
    row.what ?? "",
    numbers(row.inside, row.inside_shape, row.inside_numbers),
    numbers(row.outside, row.outside_shape, row.outside_numbers),
    el("span", {}, (row.tensors ?? []).map((/** @type {any} */ tensor) => el("div", {}, button(tensor.name, () => scene.store.go({ panel: "file", tensor: tensor.name }), { class: "link" }), el("small.soft", {}, ` ${shapeOf(tensor.shape)}, ${size(tensor.bytes)}`)))),
  ]);
  return [...heading(title, "What goes in, what comes out, and which tensors of the model file are used, for the token that predicts the answer."),
    card({ title: "Layer by layer" }, table(["layer", "part", "what it does", "in", "out", "tensors"], rows, title))];
}
