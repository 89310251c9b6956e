/** A recorded quantity as a card: its numbers in a table, or a heat map where there are many. */

import { scaleFor } from "../color.js";
import { el } from "../dom.js";
import { plural, title as titled } from "../format.js";
import { card } from "./card.js";
import { gridText, loadGrid, nameOf, valueAt } from "./grid.js";
import { heatMap } from "./heat_map.js";
import { numberTable } from "./number_table.js";
import { gridSvg } from "./svg.js";

/** @typedef {import("../scene.js").Scene} Scene */
/** @typedef {import("../scene.js").Quantity} Quantity */
/** @typedef {import("./grid.js").Grid} Grid */

export const WITH_NUMBERS = 16;
const FOLD = 16;
const VECTOR_WITH_NUMBERS = 64;
const WIDEST_STRIP = 1024;
const CELLS_IN_TABLE = 4096;

const PROBABILITIES = new Set(["weights", "probabilities", "router_probabilities", "expert_weights"]);

/**
 * @param {Scene} scene
 * @param {Quantity} quantity
 * @param {{fixed?: Record<string, number>, title?: string, says?: string | null, room?: {widest?: number, highest?: number}}} [options]
 * @returns {Promise<HTMLElement>}
 */
export async function quantityCard(scene, quantity, options = {}) {
  const title = options.title ?? titled(quantity.name);
  const says = options.says === undefined ? scene.meaning(quantity) : (options.says ?? undefined);
  if (!scene.data.carries(scene.step.step, quantity.path)) return missingCard(title, quantity);
  const grid = await loadGrid(scene, quantity, options.fixed);
  const scale = scaleFor(kindOf(scene, quantity, grid), grid.values);
  const tools = { table: () => tableOf(grid, scene.state.index), text: () => gridText(grid), svg: () => gridSvg(grid, scale, title) };
  const drawing = draw(grid, scale, (index) => scene.pick(quantity.path, index), options.room);
  return card({ title, says, shape: grid.shape, scale, tools, path: quantity.path }, drawing);
}

/** @param {string} title @param {Quantity} quantity */
function missingCard(title, quantity) {
  const says = `This file does not carry ${quantity.name}: its ${quantity.shape.join(" × ")} numbers were left out for size.`;
  return card({ title, says, path: quantity.path });
}

/**
 * @param {Grid} grid
 * @param {import("../color.js").Scale} scale
 * @param {(index: number[]) => void} pick
 * @param {{widest?: number, highest?: number}} [room]
 */
export function draw(grid, scale, pick, room) {
  if (grid.rows === 1 && grid.columns > FOLD) return drawVector(grid, scale, pick, room);
  if (grid.rows <= WITH_NUMBERS && grid.columns <= WITH_NUMBERS) return numberTable(grid, scale, pick);
  return heatMap(grid, scale, pick, room);
}

/**
 * A vector: its numbers in rows of 16, or a strip of colours, folded where it is long.
 * @param {Grid} grid
 * @param {import("../color.js").Scale} scale
 * @param {(index: number[]) => void} pick
 * @param {{widest?: number, highest?: number}} [room]
 */
function drawVector(grid, scale, pick, room) {
  if (grid.columns <= VECTOR_WITH_NUMBERS) return numberTable(folded(grid, FOLD), scale, pick);
  if (grid.columns > WIDEST_STRIP) return heatMap(folded(grid, 512), scale, pick, room);
  return heatMap(grid, scale, pick, room);
}

/**
 * The same vector in rows of `width` numbers.
 * @param {Grid} grid
 * @param {number} width
 * @returns {Grid}
 */
function folded(grid, width) {
  const rows = Math.ceil(grid.columns / width);
  const values = new Float32Array(rows * width);
  values.set(grid.values);
  const last = grid.columns - 1;
  return {
    ...grid,
    values,
    count: grid.columns,
    rows,
    columns: width,
    rowNames: Array.from({ length: rows }, (_, i) => `${i * width}–${Math.min(last, (i + 1) * width - 1)}`),
    columnNames: Array.from({ length: width }, (_, j) => `+${j}`),
    indexOf: (row, column) => grid.indexOf(0, Math.min(last, row * width + column)),
  };
}

/** @param {Scene} scene @param {Quantity} quantity @param {Grid} grid @returns {import("../color.js").Scale["kind"]} */
export function kindOf(scene, quantity, grid) {
  if (quantity.name === "mask") return "mask";
  const isShare = PROBABILITIES.has(quantity.name) && grid.values.every((value) => value >= 0 && value <= 1.000_001);
  if (isShare) return "probability";
  return /(^|_)(ids?|tokens|source|positions|choice|documents|experts|chosen|bucket)$/.test(quantity.name) ? "plain" : "signed";
}

/**
 * A plain table; of a large grid the row and the column of the chosen number, which is said.
 * @param {Grid} grid
 * @param {number[]} chosen
 */
function tableOf(grid, chosen) {
  const whole = grid.rows * grid.columns <= CELLS_IN_TABLE;
  const rows = Math.max(1, Math.floor(CELLS_IN_TABLE / grid.columns));
  const first = whole ? 0 : Math.max(0, Math.min(grid.rows - rows, chosen.at(-2) ?? 0));
  const last = whole ? grid.rows : Math.min(grid.rows, first + rows);
  const columns = Math.min(grid.columns, CELLS_IN_TABLE);
  const note = whole ? null : el("p", {}, `Rows ${first} to ${last - 1} of ${grid.rows}, ${plural(columns, "column")} of ${grid.columns.toLocaleString("en")}; “copy” takes all.`);
  const table = el("table.plain", {}, el("tr", {}, el("th"), Array.from({ length: columns }, (_, j) => el("th", {}, nameOf(grid.columnNames, j)))));
  for (let i = first; i < last; i++) {
    const cells = Array.from({ length: columns }, (_, j) => el("td", {}, String(Number(valueAt(grid, i, j).toPrecision(6)))));
    table.append(el("tr", {}, el("th", {}, nameOf(grid.rowNames, i)), cells));
  }
  return el("div.scroll", {}, note, table);
}
