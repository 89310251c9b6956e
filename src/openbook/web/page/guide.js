/** The learner's path: the algorithm for this very prompt, one sentence a step, the picture changing with it. */

import { button, el } from "./dom.js";
import { opening } from "./shell.js";

/** @typedef {import("./scene.js").Scene} Scene */

/** @param {Scene} scene @returns {Node[]} */
export function guide(scene) {
  const stops = scene.manifest.path ?? [];
  const { stop } = scene.state;
  if (!stops.length) return [];
  if (stop < 0) {
    return [el("div.guide.closed", {}, button("Walk through it", () => walk(scene, 0), { class: "main", "data-focus": "walk" }),
      el("span.soft", {}, ` From text to the next token in ${stops.length} steps, for this very prompt.`))];
  }
  const at = Math.min(stop, stops.length - 1);
  return [el("div.guide", { role: "region", "aria-label": "Walk through" },
    el("div.guide-text", { "aria-live": "polite" }, el("b", {}, `${at + 1} of ${stops.length} · ${stops[at].title}. `), stops[at].sentence),
    el("div.guide-buttons", {},
      button("Back", () => walk(scene, at - 1), { disabled: at === 0, title: "Back (P)", "data-focus": "back" }),
      button("Next", () => walk(scene, at + 1), { disabled: at === stops.length - 1, class: "main", title: "Next (N)", "data-focus": "next" }),
      button("×", () => scene.store.go({ stop: -1 }), { title: "End the walk", "aria-label": "End the walk" })))];
}

/** @param {Scene} scene @param {number} to */
export function walk(scene, to) {
  const stop = scene.manifest.path?.[to];
  if (!stop) return;
  const step = Math.min(stop.step, scene.manifest.steps.length - 1);
  scene.store.go({ row: -1, ...opening({ step, ...stop.opens }), stop: to });
}
