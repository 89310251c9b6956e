/** A grid as a picture, a pixel or more a number: for grids of more than 16 rows or columns. */

import { paintPixels } from "../color.js";
import { el } from "../dom.js";
import { long } from "../format.js";
import { cellName, valueAt } from "./grid.js";

/** @typedef {import("./grid.js").Grid} Grid */

const WIDEST = 860;
const HIGHEST = 520;
const LARGEST_CELL = 22;
const SMALLEST_NAME = 9;
/** @type {Record<string, number[]>} */
const STEPS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

/** The grid behind each canvas, for marking cells. @type {WeakMap<Element, Grid>} */
const grids = new WeakMap();

/**
 * @param {Grid} grid
 * @param {import("../color.js").Scale} scale
 * @param {(index: number[]) => void} pick
 * @param {{widest?: number, highest?: number}} [room]  in pixels
 * @returns {HTMLElement}
 */
export function heatMap(grid, scale, pick, room = {}) {
  const canvas = paint(grid, scale);
  const [width, height] = sizeOf(grid, room.widest ?? WIDEST, room.highest ?? HIGHEST);
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const said = el("output.said", {}, "\u00a0");
  const frame = el("div.heat", {
    tabindex: 0,
    role: "application",
    "aria-label": `${grid.shape}, ${grid.rows} rows and ${grid.columns} columns; arrow keys move, Enter opens`,
    "data-focus": grid.shape,
  }, canvas);
  frame.style.width = `${width}px`;
  frame.style.height = `${height}px`;
  grids.set(frame, grid);
  let cursor = [0, 0];
  const tell = (/** @type {number[]} */ at) => {
    cursor = at;
    said.textContent = `${cellName(grid, at[0], at[1])}: ${long(valueAt(grid, at[0], at[1]))}`;
  };
  const under = (/** @type {MouseEvent} */ event) => {
    const box = canvas.getBoundingClientRect();
    const share = [(event.clientY - box.top) / box.height, (event.clientX - box.left) / box.width];
    return [grid.rows, grid.columns].map((count, axis) => Math.max(0, Math.min(count - 1, Math.floor(share[axis] * count))));
  };
  frame.addEventListener("mousemove", (event) => tell(under(event)));
  frame.addEventListener("click", (event) => {
    tell(under(event));
    pick(grid.indexOf(cursor[0], cursor[1]));
  });
  frame.addEventListener("keydown", (event) => {
    const by = STEPS[event.key];
    if (event.key === "Enter" || event.key === " ") pick(grid.indexOf(cursor[0], cursor[1]));
    else if (by) {
      tell([Math.max(0, Math.min(grid.rows - 1, cursor[0] + by[0])), Math.max(0, Math.min(grid.columns - 1, cursor[1] + by[1]))]);
      markCells(frame, "cursor", [cursor]);
    } else return;
    event.preventDefault();
    event.stopPropagation();
  });
  return el("div.scroll", {}, named(grid, frame, width, height), said);
}

/**
 * The frame with the names of its rows and columns, where there is room for them.
 * @param {Grid} grid
 * @param {HTMLElement} frame
 * @param {number} width
 * @param {number} height
 */
function named(grid, frame, width, height) {
  const across = grid.columnNames && width / grid.columns >= SMALLEST_NAME ? names(grid.columnNames, "left") : null;
  const down = grid.rowNames && height / grid.rows >= SMALLEST_NAME ? names(grid.rowNames, "top") : null;
  if (!across && !down) return frame;
  return el(`div.named${across ? ".across" : ""}${down ? ".down" : ""}`, {}, across, down, frame);
}

/** @param {string[]} texts @param {"left" | "top"} side */
function names(texts, side) {
  return el(`div.names.${side}`, { "aria-hidden": "true" }, texts.map((text, i) => {
    const name = el("bdi", {}, text);
    name.style[side] = `${(100 * (i + 0.5)) / texts.length}%`;
    return name;
  }));
}

/** A canvas with a pixel a number. @param {Grid} grid @param {import("../color.js").Scale} scale */
export function paint(grid, scale) {
  const canvas = /** @type {HTMLCanvasElement} */ (el("canvas", { role: "img", "aria-label": grid.shape }));
  canvas.width = grid.columns;
  canvas.height = grid.rows;
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  const image = context.createImageData(grid.columns, grid.rows);
  paintPixels(grid.values, scale, image.data);
  if (grid.count !== undefined) image.data.fill(0, 4 * grid.count);
  context.putImageData(image, 0, 0);
  return canvas;
}

/**
 * Width and height in pixels: square cells where they fit, else the whole width with rows high enough to be hit.
 * @param {Grid} grid
 * @param {number} widest
 * @param {number} highest
 */
function sizeOf(grid, widest, highest) {
  const cell = Math.min(LARGEST_CELL, widest / grid.columns, highest / grid.rows);
  if (cell >= 2) return [Math.round(cell * grid.columns), Math.round(cell * grid.rows)];
  const rowHeight = Math.min(18, Math.max(1, highest / grid.rows));
  return [Math.min(widest, Math.max(200, grid.columns * 2)), Math.max(24, Math.round(rowHeight * grid.rows))];
}

/**
 * Boxes around cells of one heat map.
 * @param {Element} frame
 * @param {"at" | "op" | "cursor"} kind
 * @param {number[][]} cells  row and column of each
 */
export function markCells(frame, kind, cells) {
  const grid = grids.get(frame);
  if (!grid) return;
  for (const old of frame.querySelectorAll(`.box.${kind}`)) old.remove();
  for (const [i, j] of cells) {
    const box = el(`div.box.${kind}`);
    box.style.left = `${(100 * j) / grid.columns}%`;
    box.style.top = `${(100 * i) / grid.rows}%`;
    box.style.width = `${100 / grid.columns}%`;
    box.style.height = `${100 / grid.rows}%`;
    frame.append(box);
  }
}

/** @param {Element} frame */
export function gridBehind(frame) {
  return grids.get(frame);
}
