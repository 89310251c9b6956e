/** Elements and MathML. Text is always set as text, never as markup: tokens and names come from strangers. */

/** @typedef {Node | string | number | null | undefined | false} Child */

const SVG = "http://www.w3.org/2000/svg";

/**
 * An HTML element.
 * @param {string} name  the tag, with classes behind dots: "div.card.wide"
 * @param {Record<string, any>} [attributes]  names that begin with "on" are listeners; null is left out, and false
 *   except in aria-…, where it is said
 * @param {...(Child | Child[])} children
 * @returns {HTMLElement}
 */
export function el(name, attributes = {}, ...children) {
  const [tag, ...classes] = name.split(".");
  const element = document.createElement(tag);
  if (classes.length) element.className = classes.join(" ");
  fill(element, attributes, children);
  return element;
}

/**
 * An SVG element, as `el`.
 * @param {string} tag
 * @param {Record<string, any>} [attributes]
 * @param {...(Child | Child[])} children
 * @returns {SVGElement}
 */
export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  fill(element, attributes, children);
  return element;
}

/**
 * @param {Element} element
 * @param {Record<string, any>} attributes
 * @param {(Child | Child[])[]} children
 */
function fill(element, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined) continue;
    if (key.startsWith("aria-")) element.setAttribute(key, String(value));
    else if (value === false) continue;
    else if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value === true ? "" : String(value));
  }
  for (const child of children.flat()) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : String(child));
  }
}

/**
 * A formula. The text was written and escaped by `explanation/expression_mathml.py`; it is parsed as XML, so that a
 * name in it can never become HTML.
 * @param {{mathml?: string, text: string}} formula
 * @returns {Element}
 */
export function math(formula) {
  if (formula.mathml) {
    const parsed = new DOMParser().parseFromString(formula.mathml, "application/xml").documentElement;
    if (parsed.localName === "math") {
      const node = /** @type {Element} */ (document.importNode(parsed, true));
      node.removeAttribute("display");  // set in the line, like text; the style gives it its height
      node.setAttribute("displaystyle", "true");
      node.setAttribute("aria-label", formula.text);
      return node;
    }
  }
  return el("code", {}, formula.text);
}

/**
 * A button.
 * @param {Child} label
 * @param {() => void} action
 * @param {Record<string, any>} [attributes]
 */
export function button(label, action, attributes = {}) {
  return el("button", { type: "button", onclick: action, ...attributes }, label);
}

/**
 * Offers `content` as a file to save.
 * @param {string} name
 * @param {string} content
 * @param {string} type
 */
export function save(name, content, type) {
  const link = /** @type {HTMLAnchorElement} */ (el("a", { download: name }));
  link.href = URL.createObjectURL(new Blob([content], { type }));
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/**
 * Draws anew, and gives the focus back to what had it, by its name in `data-focus` or `data-key`.
 * @param {() => void} draw
 */
export function keepingFocus(draw) {
  const focused = /** @type {HTMLElement | null} */ (document.activeElement);
  const name = focused?.dataset?.focus ?? focused?.dataset?.key;
  draw();
  if (!name || document.activeElement === focused) return;
  const same = document.querySelector(`[data-focus="${CSS.escape(name)}"], [data-key="${CSS.escape(name)}"]`);
  /** @type {HTMLElement | null} */ (same)?.focus({ preventScroll: true });
}
