/** A grid of numbers with names for its rows and columns: what every drawing of a quantity starts from. */

import { word } from "../format.js";
import { keyOf } from "../scene.js";

/** @typedef {import("../scene.js").Scene} Scene */
/** @typedef {import("../scene.js").Quantity} Quantity */

/**
 * @typedef {object} Grid
 * @property {number} step
 * @property {string} path
 * @property {Float32Array} values  row by row
 * @property {number} rows
 * @property {number} columns
 * @property {string[] | null} rowNames  null: numbers from 0
 * @property {string[] | null} columnNames
 * @property {(row: number, column: number) => number[]} indexOf  the index of a cell in the quantity
 * @property {string} shape  in letters and numbers
 * @property {number} [count]  of a folded vector: cells behind its end are empty
 * @property {Set<number>} [templateRows]  rows of tokens that a template wrote
 */

/** Axes whose places have a name with a number. @type {Record<string, string>} */
const COUNTED = { h: "head", e: "expert" };

/**
 * The quantity at fixed letters, as rows and columns. What is left must have at most two axes.
 * @param {Scene} scene
 * @param {Quantity} quantity
 * @param {Record<string, number>} [fixed]
 * @returns {Promise<Grid>}
 */
export async function loadGrid(scene, quantity, fixed = {}) {
  const index = scene.index(quantity, fixed);
  const slice = await scene.data.slice(scene.step.step, quantity.path, index);
  return gridOf(scene, quantity, index, slice.data);
}

/**
 * @param {Scene} scene
 * @param {Quantity} quantity
 * @param {(number | null)[]} index
 * @param {Float32Array} values
 * @returns {Grid}
 */
export function gridOf(scene, quantity, index, values) {
  const free = index.flatMap((at, axis) => (at === null ? [axis] : []));
  if (free.length > 2) throw new Error(`${quantity.path} has ${free.length} free axes; a drawing has two`);
  const [rowAxis, columnAxis] = free.length === 2 ? free : [-1, free[0] ?? -1];
  const names = (/** @type {number} */ axis) => {
    if (axis < 0) return null;
    const counted = COUNTED[quantity.axes[axis]];
    if (counted) return Array.from({ length: quantity.shape[axis] }, (_, i) => `${counted} ${i}`);
    return scene.tokensAlong(quantity, quantity.axes[axis])?.map(word) ?? null;
  };
  const rowTokens = rowAxis < 0 ? null : scene.tokensAlong(quantity, quantity.axes[rowAxis]);
  return {
    step: scene.step.step,
    path: quantity.path,
    values,
    rows: rowAxis < 0 ? 1 : quantity.shape[rowAxis],
    columns: columnAxis < 0 ? 1 : quantity.shape[columnAxis],
    rowNames: names(rowAxis),
    columnNames: names(columnAxis),
    indexOf(row, column) {
      return index.map((at, axis) => (axis === rowAxis ? row : axis === columnAxis ? column : (at ?? 0)));
    },
    shape: shapeText(quantity, index),
    templateRows: new Set(rowTokens?.flatMap((token, i) => (token.made_by === "template" ? [i] : []))),
  };
}

/** "scores[b, h=0, t, s] 1 × 2 × 6 × 6". @param {Quantity} quantity @param {(number | null)[]} index */
function shapeText(quantity, index) {
  const letters = quantity.axes.map((letter, axis) => {
    const at = index[axis];
    return letter === "_" ? "1" : at === null || quantity.shape[axis] === 1 ? letter : `${letter}=${at}`;
  });
  return `${quantity.name}[${letters.join(", ")}] · ${quantity.shape.join(" × ")}`;
}

/** @param {Grid} grid @param {number} row @param {number} column */
export function valueAt(grid, row, column) {
  return grid.values[row * grid.columns + column];
}

/** @param {Grid} grid @param {number} row @param {number} column */
export function cellKey(grid, row, column) {
  return keyOf(grid.step, grid.path, grid.indexOf(row, column));
}

/** @param {string[] | null} names @param {number} at */
export function nameOf(names, at) {
  return names ? names[at] : String(at);
}

/** A cell in words: "sat, cat: −0.43". @param {Grid} grid @param {number} row @param {number} column */
export function cellName(grid, row, column) {
  const of = grid.rows > 1 || grid.rowNames ? `${nameOf(grid.rowNames, row)}, ` : "";
  return `${of}${nameOf(grid.columnNames, column)}`;
}

/** Whether there is a number in the cell. @param {Grid} grid @param {number} row @param {number} column */
export function isFilled(grid, row, column) {
  return grid.count === undefined || row * grid.columns + column < grid.count;
}

/** The numbers as text, a tab between columns. @param {Grid} grid */
export function gridText(grid) {
  const head = ["", ...Array.from({ length: grid.columns }, (_, j) => nameOf(grid.columnNames, j))].join("\t");
  const lines = [head];
  for (let i = 0; i < grid.rows; i++) {
    const numbers = Array.from(grid.values.subarray(i * grid.columns, (i + 1) * grid.columns));
    lines.push([nameOf(grid.rowNames, i), ...numbers].join("\t"));
  }
  return lines.join("\n");
}
