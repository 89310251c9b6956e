/** The model file: every tensor to scale by its bytes; one opens as a heat map and a histogram. */

import { scaleFor } from "../color.js";
import { button, el } from "../dom.js";
import { long, plural, shapeOf, size } from "../format.js";
import { card } from "../drawing/card.js";
import { gridText } from "../drawing/grid.js";
import { draw } from "../drawing/quantity.js";
import { ask, heading, problemLine, table } from "../parts.js";

/** @typedef {import("../scene.js").Scene} Scene */

const WHOLE = 40_000;
const BLOCKS = 256;
/** Share of the width. */
const ROOM_FOR_A_NAME = 0.07;

/** @param {Scene} scene @returns {Promise<Node[]>} */
export async function filePanel(scene) {
  const { found, problem } = await ask(scene, "file");
  const title = "The model file";
  if (problem) return [...heading(title), problemLine(problem)];
  const total = found.tensors.reduce((/** @type {number} */ sum, /** @type {any} */ each) => sum + each.bytes, 0);
  return [
    ...heading(title, el("code", {}, found.file), `: ${plural(found.tensors.length, "tensor")}, ${size(total)} of numbers, ${size(found.other_bytes ?? 0)} of header. Everything the model knows is in these numbers.`),
    found.changed ? problemLine(found.changed) : null,
    await tensorCard(scene, found.tensors),
    card({ title: "Every tensor, to scale by its bytes", says: `What the chosen ${scene.state.point ? "step" : "layer"} uses is lit. Click a tensor to open it.` }, map(scene, found.tensors)),
    card({ title: "As a list" }, el("details", {}, el("summary", {}, "show"), list(scene, found.tensors))),
  ].filter((node) => node !== null);
}

/** A line for each layer, and one for each tensor outside; widths are bytes, the longest line is the whole width. @param {Scene} scene @param {any[]} tensors */
function map(scene, tensors) {
  const { state } = scene;
  const ofStep = new Set(tensors.filter((each) => each.used_by.includes(state.point)).map((each) => each.name));
  /** @type {Map<string, any[]>} */
  const lines = new Map();
  for (const each of tensors) {
    const line = each.layer === null ? each.part.replaceAll("_", " ").replaceAll(".", " ") : `${each.stack === "encoder" ? "encoder " : ""}layer ${each.layer}`;
    lines.set(line, [...(lines.get(line) ?? []), each]);
  }
  const bytesOf = (/** @type {any[]} */ line) => line.reduce((sum, each) => sum + each.bytes, 0);
  const longest = Math.max(...Array.from(lines.values(), bytesOf));
  return el("div.file-map", {}, Array.from(lines, ([name, line]) => [
    el("span.soft", {}, name),
    el("div.file-line", {}, line.map((each) => {
      const isLit = ofStep.size ? ofStep.has(each.name) : each.layer === state.layer && each.stack === state.stack;
      const share = each.bytes / longest;
      const label = share > ROOM_FOR_A_NAME ? el("small", { "aria-hidden": "true" }, each.name.split(".").at(-2)) : null;
      const cell = button(label, () => scene.store.go({ tensor: each.name }), { class: `tensor${isLit ? " lit" : ""}${each.name === state.tensor ? " at" : ""}`, title: `${each.name}: ${shapeOf(each.shape)}, ${each.dtype}, ${size(each.bytes)}`, "aria-label": each.name, "data-focus": `tensor ${each.name}` });
      cell.style.width = `${100 * share}%`;
      return cell;
    })),
  ]).flat());
}

/** @param {Scene} scene @param {any[]} tensors */
function list(scene, tensors) {
  return table(["tensor", "shape", "dtype", "bytes", "begins at byte"], tensors.map((each) => [
    button(each.name, () => scene.store.go({ tensor: each.name }), { class: "link" }), shapeOf(each.shape), each.dtype, each.bytes.toLocaleString("en"), each.offset?.toLocaleString("en") ?? ""]), "Tensors");
}

/** @param {Scene} scene @param {any[]} tensors */
async function tensorCard(scene, tensors) {
  const name = scene.state.tensor;
  const about = tensors.find((each) => each.name === name);
  if (!about) return null;
  const { found, problem } = await ask(scene, "tensor", { name });
  if (problem) return card({ title: name }, problemLine(problem));
  const count = about.shape.reduce((/** @type {number} */ product, /** @type {number} */ each) => product * each, 1);
  const isWhole = count <= WHOLE;
  const rows = about.shape.length > 1 ? about.shape[0] : 1;
  const columns = count / rows;
  const part = isWhole ? await scene.data.weight(name) : (await scene.data.pooled(name, BLOCKS, BLOCKS)).mean;
  const grid = {
    step: 0, path: name, values: part.data, rows: isWhole ? rows : (part.shape.length > 1 ? part.shape[0] : 1), columns: isWhole ? columns : part.shape.at(-1),
    rowNames: null, columnNames: null, indexOf: (/** @type {number} */ i, /** @type {number} */ j) => [i, j],
    shape: isWhole ? `${shapeOf(about.shape)}, every number` : `${shapeOf(about.shape)}, means of blocks`,
  };
  const scale = scaleFor("signed", part.data);
  const says = `${about.dtype}, ${about.bytes.toLocaleString("en")} bytes from byte ${about.offset?.toLocaleString("en") ?? "?"}. Mean ${long(found.mean)}, deviation ${long(found.std)}, from ${long(found.min)} to ${long(found.max)}, ${plural(found.zeros ?? 0, "zero", "zeros")}.`;
  return card({ title: name, says, shape: grid.shape, scale, tools: { text: () => gridText(grid) } }, draw(grid, scale, () => {}), histogram(found.histogram));
}

/** @param {{edges: number[], counts: number[]} | null} histogram */
function histogram(histogram) {
  if (!histogram) return null;
  const most = Math.max(...histogram.counts, 1);
  const bars = histogram.counts.map((count, i) => {
    const bar = el("span.column", { title: `${long(histogram.edges[i])} to ${long(histogram.edges[i + 1])}: ${count.toLocaleString("en")}` });
    bar.style.height = `${(count / most) * 100}%`;
    return bar;
  });
  const ends = el("div.histogram-ends.soft", {}, el("span", {}, long(histogram.edges[0])), el("span", {}, long(histogram.edges.at(-1) ?? NaN)));
  return el("div", { role: "img", "aria-label": "histogram of the numbers" }, el("div.histogram", {}, bars), ends);
}
