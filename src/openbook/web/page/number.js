/** One number: its formula, the same with numbers, each operand, and whether it recomputes. */

import { button, el, math } from "./dom.js";
import { long, place, plural, short, word } from "./format.js";
import { problemLine } from "./parts.js";

/** @typedef {import("./scene.js").Scene} Scene */

const NUMBERS_AT_FIRST = 16;

/**
 * @param {Scene} scene
 * @param {number | "all"} [terms]  how many terms of each sum; the largest first
 * @param {() => void} [showAll]  what the button for all terms does
 * @returns {Promise<{card: HTMLElement, operands: import("./drawing/marks.js").Place[]}>}
 */
export async function numberCard(scene, terms = NUMBERS_AT_FIRST, showAll = () => {}) {
  const { path, index } = scene.state;
  const found = await scene.data.derive(scene.step.step, path, index, { terms });
  const card = el("section.card.number", { "aria-label": "The chosen number", tabindex: -1 });
  const close = button("×", () => scene.store.go({ path: "", index: [] }), { title: "Close (Escape)", "aria-label": "Close" });
  const formula = el("div.formula", {}, math(found.formula));
  const numbers = el("div.with-numbers", {}, "= ", math(found.numbers));
  const definitions = found.definitions.map((/** @type {any} */ each) =>
    el("div.with-numbers", {}, math(each.formula), each.value === undefined ? null : ` = ${long(each.value)}`));
  card.append(
    el("div.card-head", {}, el("h3", {}, heading(scene, found)), el("div.tools", {}, close)),
    el("p", {}, found.meaning),
    formula,
    numbers,
    ...definitions,
    operandTable(scene, found.operands),
    ...found.sums.map((/** @type {any} */ sum) => sumRow(sum, showAll)),
    verdict(found),
    found.changed ? problemLine(`${found.changed}.`) : "",
  );
  const operands = found.operands.flatMap((/** @type {any} */ operand) =>
    operand.kind === "recorded" || operand.kind === "cache"
      ? operand.numbers.map((/** @type {any} */ number) => ({ step: operand.step ?? scene.step.step, path: operand.source, index: number.index }))
      : []);
  return { card, operands };
}

/** @param {Scene} scene @param {any} found */
function heading(scene, found) {
  const quantity = scene.quantity(found.path);
  const letters = found.axes.flatMap((/** @type {string} */ letter, /** @type {number} */ axis) => {
    if (letter === "b" || letter === "_") return [];
    const token = quantity && scene.tokensAlong(quantity, letter)?.[found.index[axis]];
    return [token ? `${letter} = ${found.index[axis]} “${word(token)}”` : `${letter} = ${found.index[axis]}`];
  });
  return `${place(found.path)} [${letters.join(", ")}]: ${long(found.recorded)}`;
}

/** @param {Scene} scene @param {any[]} operands */
function operandTable(scene, operands) {
  const rows = operands.map((operand) => [
    el("code", {}, operand.symbols),
    el("div", {}, operand.numbers.map((/** @type {any} */ number) => chip(scene, operand, number)), leftOut(operand), source(operand)),
  ]);
  return el("div.operands", {}, rows.flat());
}

/** @param {any} operand */
function leftOut(operand) {
  return operand.left_out ? el("span.soft", {}, ` and ${operand.left_out.toLocaleString("en")} more `) : null;
}

/** A number of an operand; one that was computed opens its own derivation. @param {Scene} scene @param {any} operand @param {any} number */
function chip(scene, operand, number) {
  const at = number.at === null || number.at === undefined ? "" : `${number.at}: `;
  if (operand.kind === "recorded" || operand.kind === "cache") {
    const title = `${at}${operand.source}[${number.index}] = ${number.value}`;
    return button(short(number.value), () => scene.pick(operand.source, number.index, operand.step), { class: "value", title });
  }
  const byte = number.byte === null || number.byte === undefined ? "" : `, byte ${number.byte.toLocaleString("en")} of the model file`;
  const title = operand.kind === "weight" ? `${at}${operand.source}[${number.index}] = ${number.value}${byte}` : String(number.value);
  return el("span.value.fixed", { title }, short(number.value));
}

/** Where the numbers of an operand come from. @param {any} operand */
function source(operand) {
  if (operand.kind !== "weight") return el("span.soft", {}, " ", operand.kind === "recorded" ? place(operand.source) : operand.kind === "cache" ? `from the cache of step ${operand.step}: ${place(operand.source)}` : operand.source);
  const [first] = operand.numbers;
  const index = first && operand.numbers.length === 1 ? `[${first.index}]` : "";
  const byte = first?.byte === null || first?.byte === undefined ? "" : `, ${operand.numbers.length === 1 ? "" : "from "}byte ${first.byte.toLocaleString("en")} of the model file`;
  return el("span.soft", {}, " weight ", el("code", {}, `${operand.source}${index}`), byte);
}

/** @param {any} sum @param {() => void} showAll */
function sumRow(sum, showAll) {
  if (sum.count < 2) return el("span", { hidden: true });
  const largest = sum.terms.map((/** @type {any} */ term) => el("span.value.fixed", { title: `${sum.letter} = ${term.at}: ${term.value}` }, el("small", {}, `${sum.letter}=${term.at} `), short(term.value)));
  const rest = sum.left_out ? el("span.soft", {}, ` the other ${plural(sum.left_out, "term")}: ${long(sum.rest)} `) : null;
  const all = sum.left_out ? button("all terms", showAll) : null;
  return el("div.sum", {}, el("code", {}, sum.symbols), ` = ${long(sum.total)}, largest terms first: `, largest, rest, all);
}

/** @param {any} found */
function verdict(found) {
  const exact = found.relative_error <= 1e-4;
  return el(exact ? "p.verdict.right" : "p.verdict.wrong", {},
    el("b", {}, exact ? "✓ " : "✗ "), `recomputed ${long(found.recomputed)} · recorded ${long(found.recorded)} · difference ${long(found.error)}`);
}
