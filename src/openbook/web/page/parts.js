/** Small parts that several views share: bars, runners-up, choosers, links to places. */

import { css, colorOf } from "./color.js";
import { button, el } from "./dom.js";
import { percent, signed, word } from "./format.js";

/** @typedef {import("./scene.js").Scene} Scene */

/** A probability as a bar from 0 to 1. @param {number} share @param {string} [text] */
export function shareBar(share, text = percent(share)) {
  const fill = el("span.fill");
  fill.style.width = `${Math.max(0, Math.min(1, share)) * 100}%`;
  return el("span.share", { role: "img", "aria-label": text }, el("span.track", {}, fill), el("span.of", {}, text));
}

/** A signed number as a bar to the left or the right of zero. @param {number} value @param {number} limit */
export function signedBar(value, limit) {
  const fill = el("span.fill");
  const part = Math.min(1, Math.abs(value) / (limit || 1)) * 50;
  fill.style.width = `${part}%`;
  fill.style.left = value < 0 ? `${50 - part}%` : "50%";
  fill.style.background = css(colorOf(value < 0 ? -limit : limit, { kind: "signed", limit }));
  return el("span.signed", { role: "img", "aria-label": signed(value) }, el("span.track", {}, fill), el("span.of", {}, signed(value)));
}

/** The largest size among numbers, those that are not finite left out. @param {number[]} values */
export function largestOf(values) {
  return values.reduce((most, value) => (Number.isFinite(value) ? Math.max(most, Math.abs(value)) : most), 0);
}

/** Tokens with their probabilities. @param {{id: number, label: string, probability: number}[]} tokens @param {number} [chosen] */
export function tokenChips(tokens, chosen) {
  return tokens.map((token) =>
    el(token.id === chosen ? "span.mini.chosen" : "span.mini", { title: `id ${token.id}: ${token.probability}` }, el("bdi", {}, word(token)), el("small", {}, ` ${percent(token.probability)}`)));
}

/**
 * A row of buttons of which one is chosen.
 * @param {string} name
 * @param {[string, string][]} options  value and label
 * @param {string} chosen
 * @param {(value: string) => void} choose
 */
export function chooser(name, options, chosen, choose) {
  return el("div.chooser", { role: "group", "aria-label": name }, el("span.soft", {}, name),
    options.map(([value, label]) => button(label, () => choose(value), { "aria-pressed": value === chosen, "data-focus": `${name} ${value}` })));
}

/** The heading of a view. @param {string} title @param {(Node | string)[]} says */
export function heading(title, ...says) {
  return [el("h1", { tabindex: -1 }, title), el("p.say", {}, says)];
}

/** A table with a heading line. @param {string[]} heads @param {(Node | string | null)[][]} rows @param {string} label */
export function table(heads, rows, label) {
  return el("div.scroll", {}, el("table.plain", { "aria-label": label },
    el("thead", {}, el("tr", {}, heads.map((head) => el("th", { scope: "col" }, head)))),
    el("tbody", {}, rows.map((cells) => el("tr", {}, cells.map((cell) => el("td", {}, cell)))))));
}

/**
 * What a view gives, or the one line that says why not.
 * @param {Scene} scene
 * @param {string} name
 * @param {Record<string, any>} [parameters]
 * @returns {Promise<{found: any, problem: string}>}
 */
export async function ask(scene, name, parameters = {}) {
  try {
    return { found: await scene.data.view(name, parameters), problem: "" };
  } catch (error) {
    return { found: null, problem: error instanceof Error ? error.message : String(error) };
  }
}

/** A line that says why something is not drawn. @param {string} problem */
export function problemLine(problem) {
  return el("p.problem", { role: "status" }, problem);
}
