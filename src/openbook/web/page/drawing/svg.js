/** A grid as an SVG picture that can be saved: vectors, so that it prints sharply. */

import { colorOf, css, inkOn } from "../color.js";
import { svg } from "../dom.js";
import { short } from "../format.js";
import { isFilled, nameOf, valueAt } from "./grid.js";

const LABELS = 70;
const MOST_RECTANGLES = 65_536;

/**
 * @param {import("./grid.js").Grid} grid
 * @param {import("../color.js").Scale} scale
 * @param {string} title
 * @returns {string}
 */
export function gridSvg(grid, scale, title) {
  const withNumbers = grid.rows <= 16 && grid.columns <= 16;
  const cell = withNumbers ? { width: 44, height: 28 } : { width: 6, height: 6 };
  const rows = Math.min(grid.rows, Math.max(1, Math.floor(MOST_RECTANGLES / grid.columns)));
  const width = LABELS + grid.columns * cell.width + 4;
  const picture = svg("svg", { xmlns: "http://www.w3.org/2000/svg", viewBox: `0 0 ${width} ${40 + rows * cell.height}`, "font-family": "sans-serif", "font-size": 11 });
  const cut = rows < grid.rows ? ` (the first ${rows} of ${grid.rows} rows)` : "";
  picture.append(svg("text", { x: 2, y: 13, "font-weight": "bold" }, `${title}${cut}`));
  for (let i = 0; i < rows; i++) {
    const top = 36 + i * cell.height;
    if (withNumbers) picture.append(svg("text", { x: LABELS - 6, y: top + 18, "text-anchor": "end" }, nameOf(grid.rowNames, i)));
    for (let j = 0; j < grid.columns; j++) {
      if (!isFilled(grid, i, j)) continue;
      const value = valueAt(grid, i, j);
      const color = colorOf(value, scale);
      const left = LABELS + j * cell.width;
      picture.append(svg("rect", { x: left, y: top, width: cell.width - (withNumbers ? 2 : 0), height: cell.height - (withNumbers ? 2 : 0), fill: css(color) }));
      if (withNumbers) picture.append(svg("text", { x: left + cell.width / 2 - 1, y: top + 17, "text-anchor": "middle", fill: inkOn(color) }, short(value)));
    }
  }
  if (withNumbers) {
    for (let j = 0; j < grid.columns; j++) {
      picture.append(svg("text", { x: LABELS + j * cell.width + cell.width / 2, y: 31, "text-anchor": "middle" }, nameOf(grid.columnNames, j)));
    }
  }
  return new XMLSerializer().serializeToString(picture);
}
