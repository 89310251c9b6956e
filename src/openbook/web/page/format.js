/** How numbers, sizes, tokens and paths are written on the page. */

/** @typedef {{label: string, text?: string, id: number}} Named */

/**
 * A number in a cell: two decimals, a true minus, "0.00" only for what is exactly zero.
 * @param {number} value
 */
export function short(value) {
  if (!Number.isFinite(value)) return special(value);
  if (value === 0) return "0.00";
  const size = Math.abs(value);
  if (size >= 99_999.5 || size < 0.000_05) return minus(value.toExponential(0));
  return minus(size >= 999.5 ? value.toFixed(0) : size >= 99.95 ? value.toFixed(1) : value.toFixed(size < 0.005 ? 4 : 2));
}

/**
 * A number in full: six significant digits.
 * @param {number} value
 */
export function long(value) {
  if (!Number.isFinite(value)) return special(value);
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-4 || size >= 1e7)) return minus(value.toExponential(5));
  return minus(String(Number(value.toPrecision(6))));
}

/** @param {number} value */
function special(value) {
  return Number.isNaN(value) ? "NaN" : value < 0 ? "−∞" : "∞";
}

/** @param {string} text */
function minus(text) {
  return text.replace("-", "−").replace("e+", "e");
}

/**
 * A probability: 49 %, 3.2 %, 0.04 %.
 * @param {number} value
 */
export function percent(value) {
  if (!Number.isFinite(value)) return special(value);
  const hundredth = value * 100;
  if (hundredth === 0) return "0 %";
  if (hundredth > 99.999 && hundredth < 100) return "> 99.99 %";
  if (hundredth > 99.5 && hundredth < 100) return `${hundredth.toFixed(hundredth > 99.95 ? 3 : 1)} %`;
  if (hundredth >= 10) return `${hundredth.toFixed(0)} %`;
  return hundredth < 0.01 ? "< 0.01 %" : `${hundredth.toFixed(hundredth >= 1 ? 1 : 2)} %`;
}

/**
 * A signed number with its plus.
 * @param {number} value
 */
export function signed(value) {
  return (value > 0 ? "+" : "") + short(value);
}

/**
 * @param {number} bytes
 */
export function size(bytes) {
  const units = ["bytes", "KB", "MB", "GB", "TB"];
  let unit = 0;
  for (; bytes >= 1000 && unit < units.length - 1; unit++) bytes /= 1000;
  return `${unit && bytes < 10 ? bytes.toFixed(1) : Math.round(bytes)} ${units[unit]}`;
}

/**
 * @param {number} count
 * @param {string} one
 * @param {string} [many]
 */
export function plural(count, one, many = `${one}s`) {
  return `${count.toLocaleString("en")} ${count === 1 ? one : many}`;
}

/**
 * A token for a heading: without the blank before it, which most tokens have.
 * @param {Named} token
 */
export function word(token) {
  return token.label.trim() || (token.label ? "␣".repeat(token.label.length) : "∅");
}

/** A token inside a sentence. @param {Named} token */
export function quoted(token) {
  return `“${word(token)}”`;
}

/**
 * A recorded path in words: "layer 0 · self-attention · scores".
 * @param {string} path
 */
export function place(path) {
  return path
    .replace(/^(encoder|decoder)\.blocks\.(\d+)\./, (_, stack, layer) => `${stack === "encoder" ? "encoder " : ""}layer ${layer} · `)
    .replace(/^(encoder|decoder)\./, "$1 · ")
    .replaceAll(".", " · ")
    .replaceAll("self_attention", "attention")
    .replaceAll("_", " ");
}

/**
 * The name of a quantity as a title.
 * @param {string} name
 */
export function title(name) {
  const words = name.replaceAll("_", " ");
  return words.charAt(0).toUpperCase() + words.slice(1);
}

/** @param {number[]} shape */
export function shapeOf(shape) {
  return shape.join(" × ");
}
