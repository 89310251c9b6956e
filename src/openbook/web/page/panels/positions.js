/** How the model knows the order of the tokens. */

import { el } from "../dom.js";
import { quantityCard } from "../drawing/quantity.js";
import { ask, heading, problemLine } from "../parts.js";

/** @typedef {import("../scene.js").Scene} Scene */

/** @param {Scene} scene @returns {Promise<Node[]>} */
export async function positionsPanel(scene) {
  const { found, problem } = await ask(scene, "positions");
  const title = "Where each token stands";
  if (problem) return [...heading(title), problemLine(problem)];
  const stack = found.stacks[scene.state.stack];
  const cards = [];
  for (const { path } of stack.quantities) {
    const quantity = scene.quantity(path);
    if (!quantity) continue;
    const free = quantity.axes.filter((letter, axis) => letter !== "b" && letter !== "_" && quantity.shape[axis] > 1);
    /** @type {Record<string, number>} */
    const fixed = free.length > 2 ? { [free.includes("h") ? "h" : free[0]]: free.includes("h") ? Math.min(scene.state.head, quantity.shape[quantity.axes.indexOf("h")] - 1) : 0 } : {};
    cards.push(await quantityCard(scene, quantity, { fixed }));
  }
  return [...heading(title, stack.sentence), el("div.row", {}, cards)];
}
