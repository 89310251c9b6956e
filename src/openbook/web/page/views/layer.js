/** A layer: which heads matter, then every part in the order of computing, for the chosen token. */

import { scaleFor } from "../color.js";
import { button, el } from "../dom.js";
import { plural, quoted, short, signed, title, word } from "../format.js";
import { card } from "../drawing/card.js";
import { gridOf } from "../drawing/grid.js";
import { paint } from "../drawing/heat_map.js";
import { kindOf, quantityCard } from "../drawing/quantity.js";
import { ask, chooser, heading, largestOf, problemLine, signedBar, table } from "../parts.js";

/** @typedef {import("../scene.js").Scene} Scene */
/** @typedef {import("../scene.js").Quantity} Quantity */

const STRONGEST = 12;

/** @param {Scene} scene @returns {Promise<Node[]>} */
export async function layerView(scene) {
  const { state, layer } = scene;
  const count = scene.stack.layers.length;
  const name = `${state.stack === "encoder" ? "Encoder layer" : "Layer"} ${layer.layer}`;
  const attentions = ["self", "cross"].filter((kind) => scene.quantity(`${layer.path}.${kind}_attention.weights`));
  const says = [
    `Token ${quoted(scene.token)} comes in as a vector; ${plural(layer.heads, "head")} of attention look at other tokens, `,
    layer.experts ? `a router sends it to ${layer.experts.chosen} of ${layer.experts.count} experts, ` : `${layer.neurons.toLocaleString("en")} neurons work on it, `,
    "and what each finds is added to the vector.",
  ];
  const options = Array.from({ length: Math.min(count, 64) }, (_, i) => /** @type {[string, string]} */ ([String(i), String(i)]));
  const [parts, ...cards] = await Promise.all([
    partsCards(scene), ...attentions.map((kind) => headsCard(scene, kind === "cross")), neuronsCard(scene), wordsCard(scene),
  ]);
  return [
    ...heading(name, says.join("")),
    chooser("Layer", options, String(layer.layer), (at) => scene.store.go({ layer: Number(at), path: "", index: [] })),
    tokenChooser(scene),
    el("div.row", {}, cards),
    parts,
  ].filter((node) => node !== null);
}

/** @param {Scene} scene */
function tokenChooser(scene) {
  const tokens = scene.rows;
  if (tokens.length < 2 || tokens.length > 32) return null;
  const options = tokens.map((token, row) => /** @type {[string, string]} */ ([String(row), word(token)]));
  return chooser("Token", options, String(scene.row), (row) => scene.store.go({ row: Number(row), path: "", index: [] }));
}

/** The attention of all heads as small pictures, the strongest first. @param {Scene} scene @param {boolean} cross */
async function headsCard(scene, cross) {
  const { layer, state } = scene;
  const quantity = /** @type {Quantity} */ (scene.quantity(`${layer.path}.${cross ? "cross" : "self"}_attention.weights`));
  const name = cross ? "Heads of cross-attention" : "Heads of attention";
  if (!scene.data.carries(scene.step.step, quantity.path)) return card({ title: name }, problemLine("This file does not carry the weights of attention of this layer."));
  const slice = await scene.data.slice(scene.step.step, quantity.path, [0, null, null, null]);
  const added = await headContributions(scene, cross);
  const [heads, rows, columns] = quantity.shape.slice(1);
  const order = Array.from({ length: heads }, (_, h) => h).sort((a, b) => Math.abs(added[b] ?? 0) - Math.abs(added[a] ?? 0));
  const pictures = order.map((h) => {
    const values = slice.data.subarray(h * rows * columns, (h + 1) * rows * columns);
    const grid = gridOf(scene, quantity, [0, h, null, null].map((at, axis) => (quantity.shape[axis] === 1 && axis !== 1 ? at ?? 0 : at)), values);
    const picture = paint(grid, scaleFor(kindOf(scene, quantity, grid), values));
    const note = added[h] === undefined ? "" : `adds ${signed(added[h])}`;
    const open = () => scene.store.go({ level: "head", head: h, cross, path: "", index: [] });
    return button(el("span.small-multiple", {}, picture, el("b", {}, `head ${h}`), el("small", {}, note)), open, { class: "multiple", "data-focus": `head ${cross} ${h}` });
  });
  const says = added.length
    ? `What each head adds to the logit of ${quoted(scene.generated)}, strongest first. A row is a token that looks, a column a token that is looked at.`
    : "A row is a token that looks, a column a token that is looked at; white is 0, blue is 1.";
  return card({ title: name, says, shape: `weights[b, h, t, s] · ${quantity.shape.join(" × ")}`, scale: { kind: "probability", limit: 1 }, path: quantity.path },
    el("div.multiples", { "data-layer": state.layer }, pictures));
}

/** What each head adds to the answer's logit; empty where that cannot be told apart. @param {Scene} scene @param {boolean} cross @returns {Promise<number[]>} */
async function headContributions(scene, cross) {
  if (scene.state.stack === "encoder") return [];
  const { found } = await ask(scene, "contributions", { step: scene.state.step });
  const terms = (found?.terms ?? []).filter((/** @type {any} */ term) => term.layer === scene.layer.layer && term.kind === (cross ? "cross_head" : "head"));
  /** @type {number[]} */
  const added = [];
  for (const term of terms) added[term.head] = term.value;
  return added;
}

/** The neurons that answer most strongly to the chosen token. @param {Scene} scene */
async function neuronsCard(scene) {
  const hidden = scene.within(`${scene.layer.path}.feed_forward`).filter((each) => each.axes.at(-1) === "f" && each.axes.length === 3).at(-1);
  if (!hidden || !scene.data.carries(scene.step.step, hidden.path)) return null;
  const slice = await scene.data.slice(scene.step.step, hidden.path, scene.index(hidden, { t: scene.row }));
  const size = (/** @type {number} */ f) => (Number.isNaN(slice.data[f]) ? Infinity : Math.abs(slice.data[f]));
  const order = Array.from(slice.data.keys()).sort((a, b) => size(b) - size(a) || a - b).slice(0, STRONGEST);
  const limit = largestOf(order.map((f) => slice.data[f]));
  const rows = order.map((f) => [
    button(`neuron ${f}`, () => scene.pick(hidden.path, [0, scene.row, f]), { class: "link" }),
    signedBar(slice.data[f], limit),
  ]);
  return card({ title: "Strongest neurons", says: `Of ${plural(slice.data.length, "neuron")} of the feed-forward part, those that ${quoted(scene.token)} moves most.`, path: hidden.path },
    table(["", hidden.name.replaceAll("_", " ")], rows, "Strongest neurons"));
}

/** Which words the token's vector is closest to, before the layer and after. @param {Scene} scene */
async function wordsCard(scene) {
  const residuals = scene.within(scene.layer.path).filter((each) => each.axes.length === 3 && each.axes[2] === "d" && each.name.endsWith("residual"));
  const after = residuals.at(-1);
  if (!after) return null;
  const previous = previousResidual(scene, residuals[0]);
  const { found } = await ask(scene, "words", { step: scene.step.step, path: after.path, row: scene.row, before: previous });
  if (!found?.words.length) return null;
  const names = (/** @type {any[]} */ words) => el("span", {}, words.slice(0, 6).map((each) => el("span.mini", { title: `cosine ${each.cosine}` }, el("bdi", {}, word(each)), el("small", {}, ` ${short(each.cosine)}`))));
  const rows = [];
  if (found.before) rows.push(["before this layer", names(found.before.words ?? found.before)]);
  rows.push(["after it", names(found.words)]);
  if (found.nearer?.length) {
    rows.push(["came closer", el("span", {}, found.nearer.slice(0, 6).map((/** @type {any} */ each) => el("span.mini", {}, el("bdi", {}, word(each)), el("small", {}, ` ${short(each.from)} → ${short(each.to)}`))))]);
  }
  return card({ title: `What happened to ${quoted(scene.token)}`, says: "The words whose vectors point most nearly the same way (cosine 1: the same direction)." }, table(["", "closest words"], rows, "Closest words"));
}

/** The path of the vector that came into the layer. @param {Scene} scene @param {Quantity | undefined} first */
function previousResidual(scene, first) {
  const sources = (first?.operands ?? []).filter((/** @type {any} */ operand) => operand.kind === "recorded");
  const outside = sources.find((/** @type {any} */ operand) => !operand.source.startsWith(`${scene.layer.path}.`));
  return outside?.source;
}

/** Everything that was recorded in the layer, in order, for the chosen token. @param {Scene} scene */
async function partsCards(scene) {
  const groups = new Map();
  for (const quantity of scene.within(scene.layer.path)) {
    const part = partTitle(quantity.module.slice(scene.layer.path.length + 1));
    groups.set(part, [...(groups.get(part) ?? []), quantity]);
  }
  const sections = Array.from(groups, ([part, quantities]) => partSection(scene, part, quantities));
  return el("div.parts", {}, await Promise.all(sections));
}

/** What a module of a layer does, in words. @param {string} module  without the path of the layer */
function partTitle(module) {
  const [first, second] = module.split(".");
  /** @type {Record<string, string>} */
  const names = { self_attention: "attention", cross_attention: "cross-attention", feed_forward: "feed-forward" };
  const sublayer = first.replace(/_residual$/, "");
  const name = names[sublayer] ?? sublayer.replaceAll("_", " ");
  if (!first.endsWith("_residual")) return title(name);
  if (second === "before") return `Normalize, before ${name}`;
  if (second === "after") return `Normalize what ${name} found`;
  return second === "outer" ? `Normalize the sum with ${name}` : `Add what ${name} found to the stream`;
}

/** @param {Scene} scene @param {string} part @param {Quantity[]} quantities */
async function partSection(scene, part, quantities) {
  const { module } = quantities[0];
  const isAttention = module.endsWith("attention");
  const drawn = quantities.filter((each) => !(isAttention && each.axes.includes("t") && each.axes.includes("s")));
  const copies = drawn.filter((each) => scene.copyOf(each));
  const cards = await Promise.all(drawn.filter((each) => !scene.copyOf(each)).map((each) => rowCard(scene, each)));
  const open = isAttention
    ? button("open the heads: scores, mask, weights", () => scene.store.go({ level: "head", cross: module.endsWith("cross_attention"), path: "", index: [] }), { class: "link" })
    : null;
  return el("details.part", { open: true }, el("summary", {}, part), open, el("div.row", {}, cards), copiesLine(scene, copies));
}

/** What only repeats other numbers in this model is named, not drawn. @param {Scene} scene @param {Quantity[]} copies */
export function copiesLine(scene, copies) {
  if (!copies.length) return null;
  const links = copies.map((copy) => {
    const source = scene.copyOf(copy) ?? "";
    const open = () => scene.pick(copy.path, copy.shape.map((length, axis) => (copy.axes[axis] === "t" ? Math.min(scene.row, length - 1) : 0)));
    return el("span", {}, button(copy.name.replaceAll("_", " "), open, { class: "link" }), ` = ${(source.split(".").at(-1) ?? "").replaceAll("_", " ")}  `);
  });
  return el("p.soft.copies", {}, "Not changed in this model: ", links);
}

/**
 * A quantity for the chosen token; what has heads is drawn with a row a head, what has keys with a row a token.
 * @param {Scene} scene
 * @param {Quantity} quantity
 */
export function rowCard(scene, quantity) {
  /** @type {Record<string, number>} */
  const fixed = { t: scene.row };
  const left = quantity.axes.filter((letter, axis) => letter !== "b" && scene.index(quantity, fixed)[axis] === null);
  for (const letter of left.slice(0, Math.max(0, left.length - 2))) fixed[letter] = letter === "h" ? scene.state.head : 0;
  const inside = quantity.module.split(".").at(-1) ?? "";
  const isPlain = quantity.name === "output" || quantity.name === "mean_square" || quantity.name === "mean";
  const name = isPlain && inside && !/^(before|after|outer)$|attention$|feed_forward$/.test(inside) ? title(`${inside} ${quantity.name}`) : undefined;
  return quantityCard(scene, quantity, { fixed, title: name, room: { widest: 420, highest: 220 } });
}
