/** The tree of beams: what was kept at each step, with scores. */

import { button, el } from "../dom.js";
import { short, word } from "../format.js";
import { card } from "../drawing/card.js";
import { ask, heading, problemLine, table } from "../parts.js";
import { START } from "../store.js";

/** @typedef {import("../scene.js").Scene} Scene */

/** @param {Scene} scene @returns {Promise<Node[]>} */
export async function beamsPanel(scene) {
  const title = "Beam search";
  const { found, problem } = await ask(scene, "beams");
  if (problem) return [...heading(title), problemLine(problem)];
  const best = new Set(found.best.slice(0, 1).flatMap((/** @type {any} */ each) => pathTo(found.nodes, each.tokens)));
  const rows = found.best.map((/** @type {any} */ each) => [el("bdi.text", {}, each.text), short(each.score), short(each.log_probability)]);
  return [
    ...heading(title, `Several translations are grown side by side; after each step the ${found.settings?.beam_size ?? "best"} most probable are kept. The `, el("b", {}, "score"), " is the log-probability, divided by the length to the power of the length penalty."),
    card({ title: "What was kept", says: "Each token under the one it follows; the best translation is marked. A token opens the model at that point." }, tree(scene, found.nodes, best)),
    card({ title: "The translations" }, table(["translation", "score", "log-probability"], rows, "Translations")),
  ];
}

/** The nodes along a list of ids from the root. @param {any[]} nodes @param {number[]} ids */
function pathTo(nodes, ids) {
  /** @type {number[]} */
  const path = [];
  let parent = -1;
  for (const id of ids) {
    const next = nodes.findIndex((node) => (node.parent ?? -1) === parent && node.token === id);
    if (next < 0) break;
    path.push(next);
    parent = next;
  }
  return path;
}

/** @param {Scene} scene @param {any[]} nodes @param {Set<number>} best */
function tree(scene, nodes, best) {
  /** @type {Map<number | null, number[]>} */
  const children = new Map();
  nodes.forEach((node, i) => children.set(node.parent, [...(children.get(node.parent) ?? []), i]));
  /** @param {number | null} parent @returns {HTMLElement | null} */
  const list = (parent) => {
    const below = children.get(parent) ?? [];
    return below.length ? el("ul.beams", {}, below.map((i) => el("li", {}, item(i), list(i)))) : null;
  };
  /** @param {number} i @returns {HTMLElement} */
  const item = (i) => {
    const node = nodes[i];
    const text = `${word({ label: node.label ?? "", id: node.token })}`;
    const chip = scene.data.door === "server" ? button(el("bdi", {}, text), () => open(i), { class: "mini" }) : el("span.mini", {}, el("bdi", {}, text));
    if (best.has(i)) chip.classList.add("chosen");
    return el("span", {}, chip, el("small.soft", {}, ` ${short(node.log_probability)}${node.state === "ended" ? " · ended" : ""}`));
  };
  const open = async (/** @type {number} */ i) => {
    /** @type {number[]} */
    const ids = [];
    const last = nodes[i].state === "ended" ? nodes[i].parent ?? -1 : i;  // nothing reads an end token
    for (let at = last; at >= 0; at = nodes[at].parent ?? -1) ids.unshift(nodes[at].token);
    await scene.data.rerun({ prompt: scene.manifest.prompt, target_ids: [...scene.manifest.target_ids, ...ids] });
    scene.store.go({ ...START, level: "head", cross: true });
  };
  return el("div.scroll", {}, list(children.has(null) ? null : -1) ?? el("p.soft", {}, "no beams"));
}
