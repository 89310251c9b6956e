/** The model: every token through every layer, the encoder beside the decoder where there are both. */

import { colorOf, css, inkOn, scaleFor } from "../color.js";
import { button, el } from "../dom.js";
import { percent, plural, quoted, short, word } from "../format.js";
import { card } from "../drawing/card.js";
import { heatMap } from "../drawing/heat_map.js";
import { copiesLine, rowCard } from "./layer.js";
import { stackOf } from "../scene.js";
import { ask, chooser, heading, largestOf, problemLine, signedBar, table } from "../parts.js";

/** @typedef {import("../scene.js").Scene} Scene */

const WITH_WORDS = 16;

const COLORS = /** @type {[string, string][]} */ ([
  ["lens", "what each layer would say"],
  ["length", "length of the vector"],
  ["contribution", "what each layer adds to the answer"],
]);

/** @param {Scene} scene @returns {Promise<Node[]>} */
export async function modelView(scene) {
  const { manifest, state } = scene;
  const answer = scene.generated;
  const encoder = manifest.model.stacks.encoder;
  const layers = manifest.model.stacks.decoder.layers.length;
  const [body, around] = await Promise.all([state.color === "contribution" ? contributions(scene) : lens(scene), outside(scene)]);
  return [
    ...heading(`${manifest.model.file}: ${plural(layers, "layer")}, a vector for each token`,
      `Each token is a vector of ${manifest.model.width} numbers. Every layer reads it and adds to it; after the last one it predicts the next token${answer.finite ? `, here ${quoted(answer)} with ${percent(answer.probability)}` : "; here the logits are not finite, so none is chosen"}.`),
    chooser("Show", COLORS, state.color, (color) => scene.store.go({ color })),
    el("div.row", {}, encoder ? encoderCard(scene) : null, body),
    around,
  ];
}

/** What is computed before the first layer and after the last, for the chosen token. @param {Scene} scene */
async function outside(scene) {
  const quantities = scene.step.quantities.filter((/** @type {any} */ each) => (each.layer ?? null) === null && stackOf(each) === scene.state.stack);
  const copies = quantities.filter((/** @type {any} */ each) => scene.copyOf(each));
  const cards = await Promise.all(quantities.filter((/** @type {any} */ each) => !copies.includes(each)).map((/** @type {any} */ each) => rowCard(scene, each)));
  return el("details.part", { open: true }, el("summary", {}, `Before the first layer and after the last, for ${quoted(scene.token)}`), el("div.row", {}, cards), copiesLine(scene, copies));
}

/** The layers of the encoder, which read the source once. @param {Scene} scene */
function encoderCard(scene) {
  const { manifest } = scene;
  const go = (/** @type {number} */ layer, /** @type {number} */ row) =>
    scene.store.go({ level: "layer", stack: "encoder", layer, row, path: "", index: [] });
  const rows = manifest.model.stacks.encoder.layers.map((/** @type {any} */ each) => [
    button(`layer ${each.layer}`, () => go(each.layer, -1), { class: "link" }),
    ...manifest.source.slice(0, WITH_WORDS).map((/** @type {any} */ _, /** @type {number} */ row) =>
      button("●", () => go(each.layer, row), { class: "dot", "aria-label": `layer ${each.layer}, token ${row}` })),
  ]);
  return card({ title: "Encoder", says: "It reads the whole source at once, before the first token is written. The decoder looks at its last layer through cross-attention." },
    table(["", ...manifest.source.slice(0, WITH_WORDS).map(word)], rows, "Encoder layers"));
}

/** A grid of tokens and layers. @param {Scene} scene */
async function lens(scene) {
  const { found, problem } = await ask(scene, "lens", { step: scene.state.step });
  const isLength = scene.state.color === "length";
  const title = isLength ? "Length of each vector after each layer" : "What the model would say if it stopped after a layer";
  if (problem) return card({ title }, problemLine(problem));
  const first = found.first ?? 0;
  const tokens = scene.rowsOf("decoder").slice(first);
  const cut = first ? ` The last ${plural(tokens.length, "token")} of ${first + tokens.length}.` : "";
  const says = isLength ? `The length of the residual stream: how much has been added up.${cut}` :
    `Each layer's vector goes through the final norm and the output layer. Colour: the probability of ${quoted(found.answer)} so far.${cut}`;
  const columns = found.rows[0].cells.length;
  const values = Float32Array.from(found.rows.flatMap((/** @type {any} */ row, /** @type {number} */ i) =>
    isLength ? found.norms[i] : row.cells.map((/** @type {any} */ cell) => cell.answer_probability)));
  const scale = scaleFor(isLength ? "signed" : "probability", values);
  if (columns > WITH_WORDS) return card({ title, says, scale }, wideGrid(scene, found, values, scale, tokens, isLength));
  const rows = found.rows.map((/** @type {any} */ row, /** @type {number} */ i) =>
    el("tr", {}, el("th", { scope: "row" }, row.name), row.cells.map((/** @type {any} */ cell, /** @type {number} */ t) => {
      const color = colorOf(values[i * columns + t], scale);
      const text = isLength ? short(values[i * columns + t]) : Number.isNaN(cell.probability) ? "NaN" : word(cell);
      const inner = el("div.lens-cell", { title: isLength ? "" : `${cell.label} ${percent(cell.probability)}; ${found.answer.label} ${percent(cell.answer_probability)}, rank ${cell.answer_rank}` }, el("bdi", {}, text));
      inner.style.background = css(color);
      inner.style.color = inkOn(color);
      const open = () => scene.store.go({ level: "layer", stack: "decoder", layer: Math.max(0, row.layer), row: t + first, path: "", index: [] });
      return el("td", {}, button(inner, open, { class: "cell", "data-focus": `lens ${i} ${t}`, "aria-label": `${row.name}, ${tokens[t].label}: ${text}` }));
    })));
  const heads = el("tr", {}, el("th"), tokens.map((token) => el("th", { scope: "col" }, el("bdi", {}, word(token)))));
  return card({ title, says, scale }, el("div.scroll", {}, el("table.numbers.lens", {}, heads, rows)));
}

/**
 * @param {Scene} scene
 * @param {any} found
 * @param {Float32Array} values
 * @param {import("../color.js").Scale} scale
 * @param {import("../scene.js").Token[]} tokens
 * @param {boolean} isLength
 */
function wideGrid(scene, found, values, scale, tokens, isLength) {
  const grid = {
    step: scene.step.step, path: "lens", values, rows: found.rows.length, columns: tokens.length,
    rowNames: found.rows.map((/** @type {any} */ row) => row.name),
    columnNames: tokens.map((token, t) => `${t} ${word(token)}`),
    indexOf: (/** @type {number} */ i, /** @type {number} */ t) => [i, t],
    shape: isLength ? "length of the vectors" : `probability of ${found.answer.label}`,
  };
  return heatMap(grid, scale, ([i, t]) => scene.store.go({ level: "layer", stack: "decoder", layer: Math.max(0, found.rows[i].layer), row: t + (found.first ?? 0), path: "", index: [] }));
}

/** What each sublayer adds to the logit of the answer. @param {Scene} scene */
async function contributions(scene) {
  const { found, problem } = await ask(scene, "contributions", { step: scene.state.step });
  const title = "What each part adds to the answer's logit";
  if (problem || found.problem) return card({ title }, problemLine(problem || found.problem));
  const limit = largestOf(found.terms.map((/** @type {any} */ term) => term.value)) || 1;
  const hasCross = found.layers.some((/** @type {any} */ layer) => layer.cross !== null && layer.cross !== undefined);
  const hasBias = found.layers.some((/** @type {any} */ layer) => layer.bias);
  const rows = found.layers.map((/** @type {any} */ each) => [
    button(`layer ${each.layer}`, () => scene.store.go({ level: "layer", stack: "decoder", layer: each.layer, row: -1, path: "", index: [] }), { class: "link" }),
    signedBar(each.attention ?? 0, limit),
    ...(hasCross ? [signedBar(each.cross ?? 0, limit)] : []),
    signedBar(each.feed_forward ?? 0, limit),
    ...(hasBias ? [signedBar(each.bias ?? 0, limit)] : []),
  ]);
  const others = found.terms.filter((/** @type {any} */ term) => term.layer === null || term.layer === undefined);
  const heads = ["", "attention", ...(hasCross ? ["cross-attention"] : []), "feed-forward", ...(hasBias ? ["biases"] : [])];
  return card({ title, says: `They add up to the logit of ${quoted(found.token)}: sum ${short(found.sum)}, logit ${short(found.logit)}, difference ${found.error.toExponential(1)}. ${found.note ?? ""}` },
    table(heads, rows, title),
    table(["outside the layers", "adds"], others.map((/** @type {any} */ term) => [term.name, signedBar(term.value, limit)]), "Outside the layers"));
}
