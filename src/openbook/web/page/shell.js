/** What stays visible at every level: tokens, breadcrumb, step buttons and the algorithm. */

import { button, el } from "./dom.js";
import { percent, quoted, word } from "./format.js";

/** @typedef {import("./scene.js").Scene} Scene */
/** @typedef {import("./store.js").State} State */

export const PANELS = /** @type {[string, string][]} */ ([
  ["choice", "Choice"],
  ["tokenizer", "Tokenizer"],
  ["positions", "Positions"],
  ["beams", "Beams"],
  ["cache", "Cache"],
  ["file", "Model file"],
  ["summary", "Summary"],
]);

const NO_NUMBER = { path: "", index: [], point: "" };

/** The tokens, read and written. @param {Scene} scene @returns {Node[]} */
export function strip(scene) {
  const { manifest, state, store } = scene;
  const source = manifest.source
    ? el("div.tokens", { role: "group", "aria-label": "Source" }, el("span.who", {}, "source"), manifest.source.map((/** @type {any} */ token, /** @type {number} */ row) =>
      chip(token, state.stack === "encoder" && scene.row === row, () => store.go({ ...NO_NUMBER, stack: "encoder", row, level: state.level === "layer" || state.level === "head" ? state.level : "model", cross: false }))))
    : null;
  const from = manifest.steps[state.step].reads[0];
  const tokens = manifest.tokens.map((/** @type {any} */ token) => {
    const isLast = token.index === manifest.tokens.length - 1;
    const isChosen = state.stack === "decoder" && token.step === state.step && token.index === from + scene.row;
    const go = () => isLast
      ? store.go({ ...NO_NUMBER, level: "panel", panel: "choice", step: manifest.steps.length - 1, stack: "decoder" })
      : store.go({ ...NO_NUMBER, stack: "decoder", step: token.step, row: token.index - manifest.steps[token.step].reads[0] });
    return chip(token, isChosen, go, writtenNote(manifest, token));
  });
  const label = manifest.source ? el("span.who", {}, "target") : null;
  return [source, el("div.tokens", { role: "group", "aria-label": "Tokens" }, label, tokens), stepButtons(scene)].filter((node) => node !== null);
}

/** @param {any} manifest @param {any} token */
function writtenNote(manifest, token) {
  const step = manifest.steps.find((/** @type {any} */ each) => each.token_index === token.index);
  return step ? percent(step.probability) : "";
}

/** @param {any} token @param {boolean} chosen @param {() => void} go @param {string} [note] */
function chip(token, chosen, go, note) {
  const kind = token.made_by === "written" ? ".new" : token.made_by === "template" || token.made_by === "start" ? ".template" : "";
  const blank = /^ +/.test(token.label) && token.label.trim() ? el("span.blank", {}, "·") : null;
  return el(`button.tok${kind}`, {
    type: "button", onclick: go, "aria-pressed": chosen, "data-focus": `token ${token.made_by} ${token.index}`,
    title: `${token.text}: token ${token.index}, id ${token.id}, position ${token.position}, from ${madeBy(token)}`,
  }, blank, el("bdi", {}, word(token)), el("small", {}, note ? `${token.index} · ${note}` : `${token.index} · id ${token.id}`));
}

/** @param {any} token */
function madeBy(token) {
  return { template: "the chat template", prompt: "the prompt", start: "the model's start", target: "the given target", written: "the model" }[/** @type {string} */ (token.made_by)] ?? token.made_by;
}

/** @param {Scene} scene */
function stepButtons({ manifest, state, store }) {
  const last = manifest.steps.length - 1;
  const go = (/** @type {number} */ step) => store.go({ ...NO_NUMBER, step, row: -1 });
  return el("div.steps", { role: "group", "aria-label": "Steps of generation" },
    button("◀", () => go(state.step - 1), { disabled: state.step === 0, title: "The step before ([)", "aria-label": "The step before" }),
    el("span", {}, `step ${state.step + 1} of ${last + 1}`),
    button("▶", () => go(state.step + 1), { disabled: state.step === last, title: "The next step (])", "aria-label": "The next step" }),
    button("▶▶", () => go(last), { disabled: state.step === last, title: "The last step", "aria-label": "The last step" }));
}

/** answer › model › layer 1 › head 0. @param {Scene} scene @returns {Node[]} */
export function breadcrumb(scene) {
  const { state, store } = scene;
  /** @type {[string, Partial<State>][]} */
  const places = [["answer", { level: "answer" }], ["model", { level: "model" }]];
  if (state.level === "panel") places.splice(1, 1, [PANELS.find(([name]) => name === state.panel)?.[1].toLowerCase() ?? state.panel, {}]);
  const stack = state.stack === "encoder" ? "encoder layer" : "layer";
  if (state.level === "layer" || state.level === "head") places.push([`${stack} ${scene.layer.layer}`, { level: "layer" }]);
  if (state.level === "head") places.push([`${state.cross ? "cross-" : ""}head ${state.head}`, { level: "head" }]);
  const shown = places.slice(0, state.level === "answer" ? 1 : undefined);
  if (state.path) shown.push([`${state.path.split(".").at(-1)}[${state.index.slice(1).join(",")}]`, {}]);
  return shown.flatMap(([label, changes], i) => {
    const isHere = i === shown.length - 1;
    const link = isHere ? el("b", { "aria-current": "page" }, label) : button(label, () => store.go({ ...changes, ...NO_NUMBER }), { class: "link" });
    return i ? [el("span.soft", {}, " › "), link] : [link];
  });
}

/** One level up: a number closes, a head goes to its layer, a layer to the model, the model to the answer. @param {State} state @returns {Partial<State>} */
export function up(state) {
  if (state.path) return NO_NUMBER;
  const above = { head: "layer", layer: "model", model: "answer", panel: "answer", answer: "answer" };
  return { level: /** @type {State["level"]} */ (above[state.level]) };
}

/** The algorithm, in the order in which it runs. @param {Scene} scene @returns {Node[]} */
export function outline(scene) {
  const { manifest, state, store } = scene;
  const algorithm = scene.outline;
  const open = (/** @type {any} */ step) => () => store.go({ stop: -1, ...opening(step.opens, step.out ?? step.quantities?.at(-1)) });
  const item = (/** @type {any} */ step, /** @type {boolean} */ sub) => [
    el(`button.step${sub ? ".sub" : ""}${isAt(state, step) ? ".at" : ""}`, { type: "button", onclick: open(step), title: step.sentence, "data-focus": `outline ${step.id}`, "aria-current": isAt(state, step) ? "step" : null },
      el("b", {}, sub ? step.title : `${step.number} ${step.title}`), el("i", {}, step.note ?? "")),
    ...(step.substeps ?? []).flatMap((/** @type {any} */ each) => item(each, true)),
  ];
  const sections = algorithm.map((/** @type {any} */ section) => {
    const isLayer = section.layer !== null && section.layer !== undefined;
    const isOpen = !isLayer || (section.layer === state.layer && (section.stack ?? "decoder") === state.stack) || algorithm.length <= 5;
    return el("details", { open: isOpen }, el("summary", {}, section.title), section.steps.flatMap((/** @type {any} */ step) => item(step, false)));
  });
  const panels = el("details", { open: true }, el("summary", {}, "Beside it"), PANELS.filter(([name]) => name !== "beams" || manifest.source).map(([name, label]) =>
    el(`button.step${state.level === "panel" && state.panel === name ? ".at" : ""}`, { type: "button", onclick: () => store.go({ ...NO_NUMBER, level: "panel", panel: name, point: name === "file" ? state.path || state.point : "" }), "data-focus": `panel ${name}` }, el("b", {}, label))));
  return [...sections, panels];
}

/** @param {State} state @param {any} step */
function isAt(state, step) {
  const looked = state.path || state.point;
  return looked !== "" && owns(step, looked) && !(step.substeps ?? []).some((/** @type {any} */ each) => owns(each, looked));
}

/** @param {any} step @param {string} path */
function owns(step, path) {
  return step.quantities?.includes(path) || step.out === path;
}

/**
 * The state that a step of the algorithm, or a stop of the learner's path, opens.
 * @param {any} opens
 * @param {string} [path]  of the quantity to point at
 * @returns {Partial<State>}
 */
export function opening(opens, path) {
  const point = opens.path ?? path ?? "";
  /** @type {Partial<State>} */
  const state = { ...NO_NUMBER, point, level: opens.level === "number" ? "layer" : opens.level, cross: point.includes("cross_attention") };
  for (const key of /** @type {const} */ (["step", "stack", "layer", "head", "panel", "row"])) {
    if (opens[key] !== undefined && opens[key] !== null) Object.assign(state, { [key]: opens[key] });
  }
  return state;
}

/** A line that says where the answer stands, for the title of the window. @param {Scene} scene */
export function windowTitle(scene) {
  return `${scene.manifest.model.file}: ${quoted(scene.generated)} after “${scene.manifest.prompt.slice(0, 40)}”`;
}
