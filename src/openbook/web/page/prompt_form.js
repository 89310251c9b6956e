/** Ask again: another prompt, other settings. Only a running server can answer. */

import { button, el } from "./dom.js";
import { START } from "./store.js";

/** @typedef {import("./scene.js").Scene} Scene */

/** Settings a learner turns, with what they do. */
const SETTINGS = [
  ["max_tokens", "tokens to write", 1, "1"],
  ["temperature", "temperature (0 takes the most probable)", 0, "any"],
  ["top_k", "top k", 0, "1"],
  ["top_p", "top p", 0, "any"],
  ["seed", "seed", 0, "1"],
];

/** @param {Scene} scene */
export function promptForm(scene) {
  const { manifest } = scene;
  const prompt = /** @type {HTMLTextAreaElement} */ (el("textarea", { rows: 2, "aria-label": "Prompt" }));
  prompt.value = manifest.prompt;
  const inputs = SETTINGS.filter(([name]) => name in manifest.settings).map(([name, label, min, step]) => {
    const input = /** @type {HTMLInputElement} */ (el("input", { type: "number", min, step, name }));
    const value = manifest.settings[name];
    input.value = value === null || value === undefined ? "" : String(value);
    return { name, input, field: el("label", {}, `${label} `, input) };
  });
  const said = el("p.problem", { role: "status" });
  const send = button("Run", async () => {
    /** @type {Record<string, number>} */
    const settings = {};
    for (const { name, input } of inputs) if (input.value !== "") settings[String(name)] = Number(input.value);
    said.textContent = "Running…";
    try {
      await scene.data.rerun({ prompt: prompt.value, settings });
      scene.store.go({ ...START });
    } catch (error) {
      said.textContent = error instanceof Error ? error.message : String(error);
    }
  }, { class: "main" });
  return el("section.card", { "aria-label": "Ask again" }, el("h3", {}, "Ask again"),
    el("p", {}, "Change the prompt or a setting, and see what changes."), prompt, el("div.fields", {}, inputs.map(({ field }) => field)), send, said);
}
