/** How the model writes: its own settings, and what is changed of them in this conversation. */

import { button, el } from "../../page/dom.js";
import { key } from "../api.js";

/** @typedef {import("../app.js").App} App */

/** Name, label, least, most, step, what it does. @type {[string, string, number, number | null, string, string][]} */
const FIELDS = [
  ["temperature", "Temperature", 0, 2, "0.05", "0 always takes the most probable token; higher is more varied"],
  ["top_p", "Top p", 0, 1, "0.01", "draw from the fewest tokens that together are this probable; 1 is off"],
  ["top_k", "Top k", 1, null, "1", "draw from so many of the most probable tokens"],
  ["min_p", "Min p", 0, 1, "0.01", "draw from tokens at least so probable, compared with the most probable; 0 is off"],
  ["repetition_penalty", "Repetition penalty", 0.5, 2, "0.05", "above 1, tokens that are there already become less probable"],
  ["presence_penalty", "Presence penalty", -2, 2, "0.1", "taken from the logit of every token that the answer has"],
  ["frequency_penalty", "Frequency penalty", -2, 2, "0.1", "taken from it once for each time"],
  ["max_tokens", "Longest answer, in tokens", 1, null, "1", "the answer ends after so many"],
  ["seed", "Seed", 0, null, "1", "the same seed and settings give the same answer; empty draws a new one each time"],
];

/** @param {App} app @returns {Node[]} */
export function settingsPanel(app) {
  const { conversation, model } = app;
  const inputs = FIELDS.map((field) => settingField(app, field));
  const system = /** @type {HTMLTextAreaElement} */ (el("textarea", { rows: 4, name: "system", dir: "auto", placeholder: "none", "data-focus": "setting system" }));
  system.value = conversation.system;
  system.addEventListener("change", () => {
    conversation.system = system.value.trim().toWellFormed();
    app.changed();
  });
  const reset = button("The model's own", () => {
    conversation.settings = {};
    for (const field of inputs) /** @type {HTMLInputElement} */ (field.querySelector("input")).value = "";
    app.changed();
  }, { title: "Empty all fields", "data-focus": "reset settings" });
  const close = button("×", () => /** @type {HTMLElement | null} */ (document.querySelector(".to-settings"))?.click(), { "aria-label": "Close the settings", class: "close" });
  return [
    el("div.settings-head", {}, el("h2", {}, "Settings"), close),
    el("p.soft", {}, `For the next answers of this conversation. What is left empty is as ${model?.id ?? "the model"} has it.`),
    conversation.mode === "chat" ? el("label.stacked", {}, "System prompt", system, el("small", {}, "what the model is told first")) : null,
    ...inputs,
    reset,
    keyField(),
    model?.context ? el("p.soft", {}, `The model reads up to ${model.context.toLocaleString("en")} tokens at once.`) : null,
  ].filter((node) => node !== null);
}

/** @param {App} app @param {(typeof FIELDS)[number]} field */
function settingField(app, [name, label, least, most, step, says]) {
  const { conversation } = app;
  const { settings } = conversation;
  const own = app.model?.defaults[name];
  const shown = own === undefined || own === null ? "off" : String(own);
  const input = /** @type {HTMLInputElement} */ (el("input", { type: "number", name, min: least, max: most, step: step === "1" ? "1" : "any", inputmode: "decimal", placeholder: name === "seed" && shown === "off" ? "new each time" : shown, "aria-describedby": `about-${name}`, "data-focus": `setting ${name}` }));
  input.value = name in settings ? String(settings[name]) : "";
  const wrong = el("small.problem", { role: "alert" });
  input.addEventListener("change", () => {
    wrong.textContent = input.checkValidity() ? "" : input.validationMessage;
    if (!input.checkValidity()) return;
    if (input.value === "") delete conversation.settings[name];
    else conversation.settings[name] = Number(input.value);
    app.changed();
  });
  return el("label.stacked", {}, label, input, wrong, el("small", { id: `about-${name}` }, says));
}

function keyField() {
  const input = /** @type {HTMLInputElement} */ (el("input", { type: "password", name: "key", autocomplete: "off", placeholder: "none", "data-focus": "setting key" }));
  input.value = key.get();
  input.addEventListener("change", () => key.set(input.value.trim()));
  return el("label.stacked", {}, "API key", input, el("small", {}, "where the server asks for one; forgotten with this tab"));
}
