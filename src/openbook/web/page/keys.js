/** The keyboard: everything can be done without a mouse. */

import { el } from "./dom.js";
import { walk } from "./guide.js";
import { up } from "./shell.js";

/** @typedef {import("./scene.js").Scene} Scene */

const KEYS = /** @type {[string, string][]} */ ([
  ["N, P", "next and previous step of the walk"],
  ["[ and ]", "previous and next step of generation"],
  ["← →", "previous and next token (in a matrix: the number beside)"],
  ["↑ ↓", "previous and next layer (in a matrix: the number above or below)"],
  ["1 2 3 4", "answer, model, layer, head"],
  ["Escape", "one level up; closes the chosen number first"],
  ["Tab, Enter", "to the next control, and use it"],
  ["?", "this list"],
]);

/**
 * @param {import("./store.js").Store} store
 * @param {() => Scene | null} current
 */
export function listenToKeys(store, current) {
  addEventListener("keydown", (event) => {
    const scene = current();
    const target = /** @type {HTMLElement} */ (event.target);
    if (!scene || event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName)) return;
    if (/** @type {HTMLDialogElement} */ (document.getElementById("dialog")).open) return;
    const changes = changesOf(event.key, scene);
    if (changes === null) return;
    event.preventDefault();
    if (changes) store.go(changes);
  });
}

/**
 * What a key changes; false where it acted by itself, null where it means nothing.
 * @param {string} key
 * @param {Scene} scene
 * @returns {Partial<import("./store.js").State> | false | null}
 */
function changesOf(key, scene) {
  const { state } = scene;
  const none = { path: "", index: [] };
  const row = (/** @type {number} */ by) => ({ ...none, row: Math.max(0, Math.min(scene.rows.length - 1, scene.row + by)) });
  const layer = (/** @type {number} */ by) => ({ ...none, layer: Math.max(0, Math.min(scene.stack.layers.length - 1, state.layer + by)) });
  const step = (/** @type {number} */ by) => ({ ...none, row: -1, step: Math.max(0, Math.min(scene.manifest.steps.length - 1, state.step + by)) });
  switch (key) {
    case "Escape": return up(state);
    case "n": case "N": return walk(scene, state.stop + 1), false;
    case "p": case "P": return walk(scene, state.stop - 1), false;
    case "[": return step(-1);
    case "]": return step(1);
    case "ArrowLeft": return row(-1);
    case "ArrowRight": return row(1);
    case "ArrowUp": return state.level === "layer" || state.level === "head" ? layer(-1) : null;
    case "ArrowDown": return state.level === "layer" || state.level === "head" ? layer(1) : null;
    case "1": return { ...none, level: "answer" };
    case "2": return { ...none, level: "model" };
    case "3": return { ...none, level: "layer" };
    case "4": return { ...none, level: "head" };
    case "?": return showKeys(), false;
    default: return null;
  }
}

function showKeys() {
  const dialog = /** @type {HTMLDialogElement} */ (document.getElementById("dialog"));
  const close = el("button", { type: "button", onclick: () => dialog.close(), autofocus: true }, "Close");
  const rows = KEYS.map(([keys, does]) => el("tr", {}, el("th", { scope: "row" }, keys), el("td", {}, does)));
  dialog.replaceChildren(el("h2", {}, "Keys"), el("table.plain", {}, rows), close);
  dialog.showModal();
}
