/** A card: a title, what is drawn, the scale of its colours, and the same as a table, as text and as a picture. */

import { css, ends } from "../color.js";
import { button, el, save } from "../dom.js";

/**
 * @param {object} parts
 * @param {string | Node} parts.title
 * @param {string | Node} [parts.says]  one sentence
 * @param {string} [parts.shape]  in letters and numbers
 * @param {import("../color.js").Scale | null} [parts.scale]
 * @param {{table?: () => HTMLElement, text?: () => string, svg?: () => string}} [parts.tools]
 * @param {string} [parts.path]  of what is drawn, so that the learner's path can point to it
 * @param {...(Node | null)} body
 * @returns {HTMLElement}
 */
export function card({ title, says, shape, scale, tools, path }, ...body) {
  const name = typeof title === "string" ? title : (title.textContent ?? "");
  const table = el("div.as-table", { hidden: true });
  const bar = tools ? el("div.tools", {}, ...toolButtons(tools, name, table)) : null;
  const head = el("div.card-head", {}, el("h3", {}, title), bar);
  const sub = says || shape ? el("p", {}, says ?? null, says && shape ? " " : null, shape ? el("code.shape", {}, shape) : null) : null;
  return el("section.card", { "data-path": path, "aria-label": name }, head, sub, ...body, scale ? legend(scale) : null, table);
}

/**
 * @param {{table?: () => HTMLElement, text?: () => string, svg?: () => string}} tools
 * @param {string} name
 * @param {HTMLElement} table
 */
function* toolButtons(tools, name, table) {
  if (tools.table) {
    const make = tools.table;
    const toggle = button("table", () => {
      table.hidden = !table.hidden;
      toggle.setAttribute("aria-expanded", String(!table.hidden));
      if (!table.hidden) table.replaceChildren(make());
    }, { title: "The same numbers as a table", "aria-expanded": "false" });
    yield toggle;
  }
  if (tools.text) {
    const make = tools.text;
    const copy = button("copy", async () => {
      copy.textContent = (await copyText(make())) ? "copied" : "saved";
      setTimeout(() => (copy.textContent = "copy"), 1500);
    }, { title: "Copy as text, a tab between columns" });
    yield copy;
  }
  if (tools.svg) {
    const make = tools.svg;
    yield button("svg", () => save(`${name}.svg`, make(), "image/svg+xml"), { title: "Save as SVG" });
  }
}

/** Copies, or where the browser does not allow it, saves as a file. @param {string} text */
async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    save("numbers.tsv", text, "text/tab-separated-values");
    return false;
  }
}

/** The domain of the colours. @param {import("../color.js").Scale} scale */
export function legend(scale) {
  if (scale.kind === "plain" || scale.kind === "mask") return null;
  const { low, high, stops } = ends(scale);
  const bar = el("div.bar", {});
  bar.style.background = `linear-gradient(90deg, ${stops.map(css).join(", ")})`;
  return el("div.legend", { "aria-label": `colours from ${low} to ${high}` }, low, bar, high);
}
