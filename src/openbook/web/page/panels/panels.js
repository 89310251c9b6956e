/** The panels beside the levels, by name. */

import { heading, problemLine } from "../parts.js";
import { beamsPanel } from "./beams.js";
import { cachePanel } from "./cache.js";
import { choicePanel } from "./choice.js";
import { filePanel } from "./file.js";
import { positionsPanel } from "./positions.js";
import { summaryPanel } from "./summary.js";
import { tokenizerPanel } from "./tokenizer.js";

/** @typedef {import("../scene.js").Scene} Scene */

/** @type {Record<string, (scene: Scene) => Promise<Node[]>>} */
const PANELS = {
  choice: choicePanel,
  tokenizer: tokenizerPanel,
  positions: positionsPanel,
  beams: beamsPanel,
  cache: cachePanel,
  file: filePanel,
  summary: summaryPanel,
};

/** @param {Scene} scene @returns {Promise<Node[]>} */
export async function panelView(scene) {
  const panel = PANELS[scene.state.panel];
  if (!panel) return [...heading("No such panel"), problemLine(`There is no panel “${scene.state.panel}”; there are ${Object.keys(PANELS).join(", ")}.`)];
  return panel(scene);
}
