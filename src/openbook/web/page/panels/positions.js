/** How the model knows the order of the tokens. */

import { quantityCard } from "../drawing/quantity.js";
import { ask, heading, problemLine } from "../parts.js";

/** @typedef {import("../scene.js").Scene} Scene */

/** @param {Scene} scene @returns {Promise<Node[]>} */
export async function positionsPanel(scene) {
  const { found, problem } = await ask(scene, "positions");
  const title = "Where each token stands";
  if (problem) return [...heading(title), problemLine(problem)];
  const paths = Object.values(found.stacks).flatMap((/** @type {any} */ stack) => Object.values(stack.quantities ?? {}));
  const cards = [];
  for (const path of paths) {
    const quantity = scene.quantity(String(path));
    if (!quantity) continue;
    const free = quantity.axes.filter((letter, axis) => letter !== "b" && letter !== "_" && quantity.shape[axis] > 1);
    /** @type {Record<string, number>} */
    const fixed = free.length > 2 ? { [free.includes("h") ? "h" : free[0]]: free.includes("h") ? Math.min(scene.state.head, quantity.shape[quantity.axes.indexOf("h")] - 1) : 0 } : {};
    cards.push(await quantityCard(scene, quantity, { fixed }));
  }
  const nothing = cards.length ? [] : [problemLine("This step records no numbers of positions; the first step may.")];
  return [...heading(title, found.sentence), ...cards, ...nothing];
}
