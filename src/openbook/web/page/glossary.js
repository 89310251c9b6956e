/** Every term is explained where it stands: one sentence, the formula, and what it did for this very prompt. */

import { button, el, math } from "./dom.js";
import { opening } from "./shell.js";

/** @typedef {import("./scene.js").Scene} Scene */

/**
 * Makes the first mention of each term in a view a button that explains it.
 * @param {HTMLElement} root
 * @param {Scene} scene
 */
export function explainTerms(root, scene) {
  const glossary = scene.manifest.glossary ?? {};
  const keys = Object.keys(glossary).sort((a, b) => b.length - a.length);
  if (!keys.length) return;
  const pattern = new RegExp(`\\b(${keys.map((key) => key.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")).join("|")})(?:s|es)?\\b`, "i");
  const seen = new Set();
  for (const holder of root.querySelectorAll(".say, .card > p, summary")) {
    for (const node of [...holder.childNodes]) if (node.nodeType === Node.TEXT_NODE) markIn(/** @type {Text} */ (node), pattern, seen, scene);
  }
}

/**
 * @param {Text} text
 * @param {RegExp} pattern
 * @param {Set<string>} seen
 * @param {Scene} scene
 */
function markIn(text, pattern, seen, scene) {
  let rest = text;
  for (let found = pattern.exec(rest.data); found; found = pattern.exec(rest.data)) {
    const term = found[1].toLowerCase();
    const from = rest.splitText(found.index);
    rest = from.splitText(found[0].length);
    if (seen.has(term)) continue;
    seen.add(term);
    from.replaceWith(button(found[0], () => showTerm(scene, term), { class: "term", title: "What is this?" }));
  }
}

/** @param {Scene} scene @param {string} term */
export function showTerm(scene, term) {
  const entry = scene.manifest.glossary[term];
  const dialog = /** @type {HTMLDialogElement} */ (document.getElementById("dialog"));
  const see = (entry.see ?? []).filter((/** @type {string} */ key) => scene.manifest.glossary[key]);
  dialog.replaceChildren(
    el("h2", {}, entry.title),
    el("p", {}, entry.sentence),
    ...(entry.formula ? [el("p.formula", {}, math(entry.formula))] : []),
    here(scene, term, dialog) ?? "",
    see.length ? el("p", {}, el("span.soft", {}, "See also "), see.map((/** @type {string} */ key) => button(scene.manifest.glossary[key].title, () => showTerm(scene, key), { class: "link" }))) : "",
    el("button", { type: "button", onclick: () => dialog.close(), autofocus: true }, "Close"),
  );
  if (!dialog.open) dialog.showModal();
}

/** What the term did here: the sentence of the step that it belongs to, in the layer that is looked at where there is one. @param {Scene} scene @param {string} term @param {HTMLDialogElement} dialog */
function here(scene, term, dialog) {
  const sections = scene.outline;
  const { layer } = scene.layer;
  const near = sections.filter((/** @type {any} */ each) => each.layer === layer && each.stack === scene.state.stack);
  const steps = [...near, ...sections].flatMap((/** @type {any} */ section) => section.steps.flatMap((/** @type {any} */ step) => [...step.substeps, step]));
  const step = steps.find((each) => each.terms.includes(term));
  if (!step) return null;
  const open = () => {
    dialog.close();
    scene.store.go({ stop: -1, row: -1, ...opening(step.opens, step.out ?? undefined) });
  };
  return el("p.here", {}, el("b", {}, "Here: "), `${step.sentence} `, button("show it", open, { class: "link" }));
}
