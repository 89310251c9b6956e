/** How one token is chosen: all of the vocabulary, stage by stage, to the draw. Sliders move it. */

import { el } from "../dom.js";
import { percent, plural, quoted, short, word } from "../format.js";
import { card } from "../drawing/card.js";
import { ask, heading, problemLine, shareBar, table } from "../parts.js";

/** @typedef {import("../scene.js").Scene} Scene */

/** Name, label, least, most, step. @type {[string, string, number, number, number][]} */
const SLIDERS = [
  ["temperature", "temperature", 0, 2, 0.05],
  ["top_k", "top k (0: all)", 0, 100, 1],
  ["top_p", "top p", 0, 1, 0.01],
  ["min_p", "min p", 0, 1, 0.01],
  ["repetition_penalty", "repetition penalty", 0.5, 2, 0.05],
];

/** @param {Scene} scene @returns {Promise<Node[]>} */
export async function choicePanel(scene) {
  const { step } = scene.state;
  const result = el("div.choice-result");
  /** @type {Record<string, number>} */
  const chosen = {};
  const first = await ask(scene, "choice", { step });
  if (first.problem) return [...heading("How the token was chosen"), problemLine(first.problem)];
  let turn = 0;
  const update = async () => {
    const now = ++turn;
    const { found, problem } = await ask(scene, "choice", { step, ...chosen });
    if (now === turn) result.replaceChildren(...(problem ? [problemLine(problem)] : drawn(scene, found)));
  };
  const sliders = SLIDERS.filter(([name]) => name in first.found.settings).map(([name, label, least, most, by]) => {
    const value = first.found.settings[name] ?? least;
    const input = /** @type {HTMLInputElement} */ (el("input", { type: "range", min: least, max: Math.max(most, value), step: by, value, name }));
    const said = el("output", {}, String(value));
    input.addEventListener("input", () => {
      chosen[name] = Number(input.value);
      said.textContent = input.value;
      update();
    });
    return el("label.slider", {}, el("span", {}, label), input, said);
  });
  sliders.push(seedField(first.found, (seed) => {
    chosen.seed = seed;
    update();
  }));
  result.replaceChildren(...drawn(scene, first.found));
  const canMove = scene.data.door === "server";
  return [
    ...heading("How the token was chosen", `The model gives every token of its vocabulary a logit. Softmax makes them probabilities; the settings narrow them down; then one is taken.`),
    canMove ? card({ title: "Settings", says: "Move one, and see what would have been chosen. The answer above stays as it is." }, el("div.sliders", {}, sliders)) : el("p.soft", {}, "The sliders work where a server runs: openbook explain MODEL PROMPT."),
    result,
  ];
}

/** Another seed is another draw. @param {any} found @param {(seed: number) => void} choose */
function seedField(found, choose) {
  const input = /** @type {HTMLInputElement} */ (el("input", { type: "number", min: 0, step: 1, value: found.settings.seed, name: "seed" }));
  input.addEventListener("input", () => /^\d{1,15}$/.test(input.value) && choose(Number(input.value)));
  return el("label.slider", {}, el("span", {}, "seed of the draw"), input);
}

/** @param {Scene} scene @param {any} found @returns {Node[]} */
function drawn(scene, found) {
  const stages = found.stages.map((/** @type {any} */ stage) => [stage.name.replaceAll("_", " "), stage.on ? stage.sentence : el("span.soft", {}, "off"), plural(stage.kept, "token"), stage.dropped ? stage.dropped.toLocaleString("en") : ""]);
  const rows = found.candidates.slice(0, 24).map((/** @type {any} */ each) => [
    el(each.id === found.chosen.id ? "bdi.written.chosen" : "bdi.written", { title: `id ${each.id}` }, word(each)),
    short(each.values?.logits ?? NaN),
    shareBar(each.probability),
    each.dropped_by ? el("span.soft", {}, `dropped by ${each.dropped_by.replaceAll("_", " ")}`) : shareBar(each.sampling_probability),
  ]);
  const rest = found.rest?.count ? el("p.soft", {}, `The other ${plural(found.rest.count, "token")} share ${percent(found.rest.probability)}.`) : null;
  return [
    card({ title: `Chosen: ${quoted(found.chosen)}`, says: found.greedy ? "The most probable token is taken: no chance is in it." : `A number between 0 and 1 is drawn with the seed: ${short(found.drawn)}. The token is taken in whose interval it falls.` }, found.greedy ? null : ruler(found)),
    card({ title: "Stage by stage" }, table(["stage", "what it does", "kept", "dropped"], stages, "Stages of sampling")),
    card({ title: "The most probable tokens", says: "The model's own probability, and the one that is drawn from after all stages." }, table(["token", "logit", "the model's", "drawn from"], rows, "Candidates"), rest),
  ];
}

/** The cumulative distribution from 0 to 1 with the draw in it. @param {any} found */
function ruler(found) {
  const parts = found.candidates.filter((/** @type {any} */ each) => !each.dropped_by && each.to > each.from).map((/** @type {any} */ each, /** @type {number} */ i) => {
    const part = el(each.id === found.chosen.id ? "span.piece.chosen" : i % 2 ? "span.piece.odd" : "span.piece", { title: `${each.label}: ${short(each.from)} to ${short(each.to)}` }, each.to - each.from > 0.04 ? el("bdi", {}, word(each)) : null);
    part.style.left = `${each.from * 100}%`;
    part.style.width = `${(each.to - each.from) * 100}%`;
    return part;
  });
  const needle = el("span.needle", { title: `drawn: ${found.drawn}` });
  needle.style.left = `${found.drawn * 100}%`;
  return el("div.ruler", { role: "img", "aria-label": `cumulative distribution; ${found.drawn} falls on ${found.chosen.label}` }, parts, needle);
}
