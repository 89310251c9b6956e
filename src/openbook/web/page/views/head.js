/** A head: queries and keys, scores, mask, softmax, weights, and what they bring, each as a matrix. */

import { el } from "../dom.js";
import { percent, plural, quoted, word } from "../format.js";
import { loadGrid } from "../drawing/grid.js";
import { quantityCard } from "../drawing/quantity.js";
import { chooser, heading, problemLine } from "../parts.js";
import { ATTENTION } from "../scene.js";
import { copiesLine } from "./layer.js";

/** @typedef {import("../scene.js").Scene} Scene */
/** @typedef {import("../scene.js").Quantity} Quantity */

/** What leads from one matrix to the next. @type {Record<string, string>} */
const ARROWS = {
  biased_scores: "+ bias",
  capped_scores: "soft cap",
  mask: "who may look",
  masked_scores: "mask",
  weights: "softmax",
  values: "× values",
  value: "× values",
  head_context: "sum",
  context: "all heads",
  output: "mix",
};

/** @param {Scene} scene @returns {Promise<Node[]>} */
export async function headView(scene) {
  const { state, layer } = scene;
  const head = Math.min(state.head, layer.heads - 1);
  const heads = Array.from({ length: layer.heads }, (_, h) => /** @type {[string, string]} */ ([String(h), `head ${h}`]));
  const names = [...ATTENTION, "values", "head_context", "context", "output"];
  const chain = names.flatMap((name) => original(scene, `${scene.attention}.${name}`) ?? []);
  if (!chain.length) return [...heading("Attention", ""), problemLine(`Nothing is recorded in ${scene.attention}; choose another layer.`)];
  const [says, below, ...cards] = await Promise.all([sentence(scene, head), inputs(scene, head, chain), ...chain.map((quantity) => headCard(scene, quantity, head))]);
  const row = chain.map((quantity, i) => el("div.link-of-chain", {}, i ? arrow(ARROWS[quantity.name] ?? "then") : null, cards[i]));
  return [
    ...heading(state.cross ? "How much each token looks at each source token" : "How much each token looks at each other one", says),
    chooser("Head", heads, String(head), (at) => scene.store.go({ head: Number(at), path: "", index: [] })),
    el("div.row", {}, row),
    below,
  ];
}

/** The quantity at a path; where it only repeats another of this attention, that one. @param {Scene} scene @param {string} path */
function original(scene, path) {
  const quantity = scene.quantity(path);
  const copied = quantity && scene.quantity(scene.copyOf(quantity) ?? "");
  return copied?.module === quantity?.module ? copied ?? quantity : quantity;
}

/** @param {string} text */
function arrow(text) {
  return el("div.arrow", { "aria-hidden": "true" }, el("span", {}, "→"), text);
}

/** @param {Scene} scene @param {Quantity} quantity @param {number} head */
function headCard(scene, quantity, head) {
  const side = Math.max(...quantity.shape.slice(-2)) > 64 ? 460 : 340;
  return quantityCard(scene, quantity, { fixed: { h: headIn(scene, quantity, head) }, room: { widest: side, highest: side } });
}

/** The head of a quantity: the heads of a group share a key and a value. @param {Scene} scene @param {Quantity} quantity @param {number} head */
function headIn(scene, quantity, head) {
  const axis = quantity.axes.indexOf("h");
  const count = axis < 0 ? 1 : quantity.shape[axis];
  return Math.floor((head * count) / scene.layer.heads);
}

/** Queries and keys, from which the scores follow. @param {Scene} scene @param {number} head @param {Quantity[]} chain */
async function inputs(scene, head, chain) {
  const vectors = scene.within(scene.attention).filter((each) => each.axes.includes("k") && !chain.includes(each));
  const found = vectors.filter((each) => !scene.copyOf(each));
  const cards = await Promise.all(found.map((quantity) => headCard(scene, quantity, head)));
  return el("details.part", { open: found.every((each) => each.shape.reduce((a, b) => a * b) < 4096) },
    el("summary", {}, "Queries, keys and values of this head"), el("div.row", {}, cards), copiesLine(scene, vectors.filter((each) => scene.copyOf(each))));
}

/** One sentence about the chosen token and this head. @param {Scene} scene @param {number} head */
async function sentence(scene, head) {
  const quantity = scene.quantity(`${scene.attention}.weights`);
  if (!quantity || !scene.data.carries(scene.step.step, quantity.path)) return "";
  const grid = await loadGrid(scene, quantity, { h: head, t: Math.min(scene.row, quantity.shape[2] - 1) });
  const tokens = scene.tokensAlong(quantity, "s");
  if (!tokens) return "";
  let best = 0;
  for (let s = 1; s < tokens.length; s++) if (Math.abs(grid.values[s]) > Math.abs(grid.values[best])) best = s;
  const isShare = scene.layer.attention_function !== "none";
  const takes = isShare ? `takes ${percent(grid.values[best])} of what it takes in from` : `weighs most`;
  const reach = scene.state.cross ? "Its query is compared with the key of every token of the source"
    : scene.state.stack === "encoder" ? "Its query is compared with the key of every token"
    : scene.layer.window ? `Its query is compared with the keys of the last ${plural(scene.layer.window, "token")}`
    : "Its query is compared with the key of every token up to itself; later tokens are hidden";
  return `In head ${head}, ${quoted(scene.token)} ${takes} “${word(tokens[best])}”. ${reach}${isShare ? ", and softmax turns the scores into shares." : "."}`;
}
