/** Marks the chosen number, and the numbers it follows from, wherever they are drawn. */

import { keyOf } from "../scene.js";
import { cellKey } from "./grid.js";
import { gridBehind, markCells } from "./heat_map.js";

const MOST_BOXES = 600;

/** @typedef {{step: number, path: string, index: number[]}} Place */

/**
 * @param {ParentNode} root
 * @param {Place | null} chosen
 * @param {Place[]} operands
 */
export function markNumbers(root, chosen, operands) {
  const at = chosen ? keyOf(chosen.step, chosen.path, chosen.index) : "";
  const of = new Set(operands.map((each) => keyOf(each.step, each.path, each.index)));
  for (const cell of root.querySelectorAll("[data-key]")) {
    const key = /** @type {HTMLElement} */ (cell).dataset.key ?? "";
    cell.classList.toggle("at", key === at);
    cell.classList.toggle("op", of.has(key));
    if (cell.getAttribute("role") === "gridcell") cell.setAttribute("aria-selected", String(key === at));
  }
  for (const frame of root.querySelectorAll(".heat")) markHeat(frame, chosen, operands);
}

/** @param {Element} frame @param {Place | null} chosen @param {Place[]} operands */
function markHeat(frame, chosen, operands) {
  const grid = gridBehind(frame);
  if (!grid) return;
  const here = (/** @type {Place} */ place) => place.step === grid.step && place.path === grid.path;
  const cells = (/** @type {Place[]} */ places) => places.flatMap((place) => cellOf(grid, place) ?? []);
  markCells(frame, "op", cells(operands.filter(here).slice(0, MOST_BOXES)));
  markCells(frame, "at", chosen && here(chosen) ? cells([chosen]) : []);
}

/**
 * Row and column of a place, if this grid draws it.
 * @param {import("./grid.js").Grid} grid
 * @param {Place} place
 * @returns {[number, number][] | null}
 */
function cellOf(grid, place) {
  const corner = grid.indexOf(0, 0);
  const across = grid.indexOf(0, 1);
  const down = grid.indexOf(1, 0);
  const columnAxis = across.findIndex((at, axis) => at !== corner[axis]);
  const rowAxis = down.findIndex((at, axis) => at !== corner[axis]);
  const row = rowAxis < 0 ? 0 : place.index[rowAxis];
  const column = columnAxis < 0 ? 0 : place.index[columnAxis];
  if (row >= grid.rows || column >= grid.columns) return null;
  return cellKey(grid, row, column) === keyOf(place.step, place.path, place.index) ? [[row, column]] : null;
}
