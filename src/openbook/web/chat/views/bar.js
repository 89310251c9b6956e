/** The bar above: which model, chat or text, and the ways to the rest. */

import { button, el } from "../../page/dom.js";
import { chooser } from "../../page/parts.js";
import { showKeys } from "./dialogs.js";

/** @typedef {import("../app.js").App} App */

/** @param {App} app @returns {Node[]} */
export function bar(app) {
  const { model, conversation } = app;
  const toggle = (/** @type {string} */ name, /** @type {string} */ label, /** @type {string} */ text, /** @type {string} */ hint) =>
    button(text, () => togglePanel(name), { class: `toggle to-${name}`, "aria-label": label, "aria-expanded": panelIsOpen(name), "aria-controls": name, title: hint, "data-focus": `toggle ${name}` });
  const choice = model?.chats ? chooser("as", [["chat", "Chat"], ["text", "Text"]], conversation.mode, (mode) => app.setMode(/** @type {any} */ (mode))) : null;
  return [
    toggle("side", "Conversations", "☰", "Conversations"),
    el("h1", {}, "openbook"),
    models(app),
    choice,
    el("span.bar-end", {}, model?.translates ? null : toggle("settings", "Settings", "Settings", "Settings (S)"), button("?", showKeys, { "aria-label": "Keys", class: "to-keys", title: "Keys (?)", "data-focus": "keys" })),
  ].filter((node) => node !== null);
}

/** @param {App} app */
function models(app) {
  const select = /** @type {HTMLSelectElement} */ (el("select", { "aria-label": "Model", "data-focus": "model" }, app.models.map(({ id }) => el("option", { value: id }, id))));
  if (!app.model) select.prepend(el("option", { value: app.conversation.model }, app.conversation.model ? `${app.conversation.model} (not served)` : "no model"));
  select.value = app.conversation.model;
  select.addEventListener("change", () => app.setModel(select.value));
  return select;
}

/** @param {string} name */
const panel = (name) => /** @type {HTMLElement} */ (document.getElementById(name));

/** @param {string} name */
export const panelIsOpen = (name) => (name === "side" ? document.body.classList.contains("side-open") : !panel(name).hidden);

/** Opens or closes the conversations (on a narrow screen) or the settings. @param {string} name @param {boolean} [open] */
export function togglePanel(name, open = !panelIsOpen(name)) {
  if (name === "side") document.body.classList.toggle("side-open", open);
  else panel(name).hidden = !open;
  document.querySelector(`.to-${name}`)?.setAttribute("aria-expanded", String(open));
  const first = panel(name).querySelector("input, textarea, a") ?? panel(name).querySelector("button");
  if (open) /** @type {HTMLElement | null} */ (first)?.focus();
}
