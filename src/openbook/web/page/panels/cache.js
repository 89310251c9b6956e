/** Why the prompt is not computed again: the same step with and without the cache. */

import { el } from "../dom.js";
import { place, short } from "../format.js";
import { card } from "../drawing/card.js";
import { ask, heading, problemLine, table } from "../parts.js";

/** @typedef {import("../scene.js").Scene} Scene */

/** Milliseconds after which the panel says that it computes. */
const PATIENCE = 100;

/** @param {Scene} scene @returns {Promise<Node[]>} */
export async function cachePanel(scene) {
  const title = "The key–value cache";
  const step = Math.max(1, scene.state.step);
  if (scene.manifest.steps.length < 2) return [...heading(title), problemLine("One token was written, so nothing was read from the cache; write two or more to see it.")];
  const asked = ask(scene, "cache", { step }).then(({ found, problem }) => (problem ? [...heading(title), problemLine(problem)] : proof(title, step, found)));
  const soon = await Promise.race([asked, new Promise((done) => setTimeout(done, PATIENCE))]);
  if (soon) return soon;
  const later = el("div", {}, heading(title, "The step is computed once more without the cache, all tokens again; that takes as long as reading the whole text…"));
  asked.then((nodes) => later.replaceChildren(...nodes));
  return [later];
}

/** @param {string} title @param {number} step @param {any} found @returns {Node[]} */
function proof(title, step, found) {
  const count = (/** @type {number | undefined} */ value) => (value === undefined || value === null ? "" : value.toLocaleString("en"));
  const rows = [
    ["tokens read", count(found.tokens_with), count(found.tokens_without)],
    ["numbers computed", count(found.numbers_with), count(found.numbers_without)],
    ["seconds, everything recorded", found.seconds_with?.toFixed(4) ?? "", found.seconds_without?.toFixed(4) ?? ""],
  ];
  const differences = Object.entries(found.differences).map(([path, greatest]) => [place(path), Number(greatest).toExponential(1)]);
  return [
    ...heading(title, found.sentence ?? ""),
    card({ title: `Step ${step + 1}, both ways`, says: `The greatest difference of any number is ${found.greatest.toExponential(1)}${found.where ? ` (${place(found.where)})` : ""}; of the logits ${short(found.logits) === "0.00" ? "0" : found.logits.toExponential(1)}.` },
      table(["", "with the cache", "all computed again"], rows, "Cost with and without the cache")),
    card({ title: "Differences, quantity by quantity" }, el("details", {}, el("summary", {}, "show"), table(["quantity", "greatest difference"], differences, "Differences"))),
  ];
}
