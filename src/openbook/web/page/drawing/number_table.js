/** A grid whose every number is written in its cell: for up to 16 rows and columns. */

import { colorOf, css, inkOn } from "../color.js";
import { el } from "../dom.js";
import { short } from "../format.js";
import { cellKey, cellName, isFilled, nameOf, valueAt } from "./grid.js";

/** @typedef {import("./grid.js").Grid} Grid */

/** @type {Record<string, number[]>} */
const STEPS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

/**
 * @param {Grid} grid
 * @param {import("../color.js").Scale} scale
 * @param {(index: number[]) => void} pick
 * @returns {HTMLElement}
 */
export function numberTable(grid, scale, pick) {
  const heads = Array.from({ length: grid.columns }, (_, j) => el("th", { scope: "col" }, el("bdi", {}, nameOf(grid.columnNames, j))));
  const table = el("table.numbers", { role: "grid", "aria-label": grid.shape }, el("tr", {}, el("td.corner"), heads));
  for (let i = 0; i < grid.rows; i++) {
    const name = grid.rows > 1 || grid.rowNames ? nameOf(grid.rowNames, i) : "";
    const line = el(grid.templateRows?.has(i) ? "tr.template" : "tr", {}, el("th", { scope: "row" }, el("bdi", {}, name)));
    for (let j = 0; j < grid.columns; j++) line.append(cell(grid, scale, i, j, pick));
    table.append(line);
  }
  table.addEventListener("keydown", (event) => move(event, grid, pick));
  return el("div.scroll", {}, table);
}

/**
 * @param {Grid} grid
 * @param {import("../color.js").Scale} scale
 * @param {number} i
 * @param {number} j
 * @param {(index: number[]) => void} pick
 */
function cell(grid, scale, i, j, pick) {
  if (!isFilled(grid, i, j)) return el("td");
  const value = valueAt(grid, i, j);
  const text = scale.kind === "plain" ? String(value) : scale.kind === "mask" ? (value ? "1" : "0") : short(value);
  const inner = el("div", {}, text);
  const hidden = value === -Infinity || (scale.kind === "mask" && !value);
  if (!hidden) {
    const color = colorOf(value, scale);
    inner.style.background = css(color);
    inner.style.color = inkOn(color);
  }
  return el(hidden ? "td.masked" : "td", {
    role: "gridcell",
    tabindex: i || j ? -1 : 0,
    title: `${cellName(grid, i, j)}: ${value}`,
    "data-key": cellKey(grid, i, j),
    "data-cell": `${i},${j}`,
    onclick: () => pick(grid.indexOf(i, j)),
  }, inner);
}

/**
 * Arrow keys choose the number beside the focused one; Enter chooses that one.
 * @param {KeyboardEvent} event
 * @param {Grid} grid
 * @param {(index: number[]) => void} pick
 */
function move(event, grid, pick) {
  const at = /** @type {HTMLElement} */ (event.target).dataset.cell?.split(",").map(Number);
  const by = event.key === "Enter" || event.key === " " ? [0, 0] : STEPS[event.key];
  if (!at || !by) return;
  const [i, j] = [at[0] + by[0], at[1] + by[1]];
  event.preventDefault();
  event.stopPropagation();
  if (i < 0 || j < 0 || i >= grid.rows || j >= grid.columns) return;
  const table = /** @type {HTMLElement} */ (event.currentTarget);
  /** @type {HTMLElement | null} */ (table.querySelector(`[data-cell="${i},${j}"]`))?.focus();
  pick(grid.indexOf(i, j));
}
