/** Colours of numbers. Signed numbers are zero-centred blue, white, orange; probabilities run from white to blue over 0–1.
 *
 * The domain is always given, and written beside the drawing; nothing is rescaled without saying so. Blue and orange
 * stay apart for every common kind of colour blindness.
 */

/** @typedef {{kind: "signed" | "probability" | "mask" | "plain", limit: number}} Scale  "plain": ids, without colour */

/** @typedef {[number, number, number]} Rgb */

/** @type {Rgb} */ const BLUE = [43, 108, 176];
/** @type {Rgb} */ const ORANGE = [217, 115, 13];
/** @type {Rgb} */ const WHITE = [255, 255, 255];
/** @type {Rgb} */ const GREY = [214, 211, 203];

/**
 * The scale for these numbers: for signed ones the largest magnitude, rounded up to a number that is easy to read.
 * @param {Scale["kind"]} kind
 * @param {ArrayLike<number>} values
 * @returns {Scale}
 */
export function scaleFor(kind, values) {
  if (kind !== "signed") return { kind, limit: 1 };
  let largest = 0;
  for (let i = 0; i < values.length; i++) {
    const size = Math.abs(values[i]);
    if (size > largest && size !== Infinity) largest = size;
  }
  return { kind, limit: roundUp(largest) };
}

/** @param {number} value */
function roundUp(value) {
  if (!value) return 1;
  const unit = 10 ** Math.floor(Math.log10(value));
  const leading = [1, 1.5, 2, 3, 4, 5, 6, 8, 10].find((each) => each * unit >= value * 0.999_999) ?? 10;
  return leading * unit;
}

/**
 * @param {number} value
 * @param {Scale} scale
 * @returns {Rgb}
 */
export function colorOf(value, scale) {
  if (scale.kind === "plain") return WHITE;
  if (Number.isNaN(value)) return [190, 24, 93];
  if (value === -Infinity || value === Infinity) return GREY;
  if (scale.kind === "signed") {
    const share = Math.min(1, Math.abs(value) / scale.limit);
    return mix(value < 0 ? BLUE : ORANGE, share * 0.9);
  }
  return mix(BLUE, Math.min(1, Math.max(0, value)) * 0.92);
}

const SHADES = 256;

/**
 * The same colours for many numbers, as pixels: from a palette, so that a large matrix is drawn at once.
 * @param {ArrayLike<number>} values
 * @param {Scale} scale
 * @param {Uint8ClampedArray} pixels  four bytes a number
 */
export function paintPixels(values, scale, pixels) {
  const [low, high] = scale.kind === "signed" ? [-scale.limit, scale.limit] : [0, 1];
  const palette = Array.from({ length: SHADES + 1 }, (_, i) => colorOf(low + ((high - low) * i) / SHADES, scale));
  for (let i = 0; i < values.length; i++) {
    const at = Math.round(((values[i] - low) / (high - low)) * SHADES);
    const [red, green, blue] = Number.isFinite(values[i]) ? palette[Math.max(0, Math.min(SHADES, at))] : colorOf(values[i], scale);
    pixels[4 * i] = red;
    pixels[4 * i + 1] = green;
    pixels[4 * i + 2] = blue;
    pixels[4 * i + 3] = 255;
  }
}

/**
 * @param {Rgb} color
 * @param {number} share
 * @returns {Rgb}
 */
function mix(color, share) {
  return /** @type {Rgb} */ (WHITE.map((white, i) => Math.round(white + (color[i] - white) * share)));
}

/** @param {Rgb} color */
export function css(color) {
  return `rgb(${color.join(" ")})`;
}

/**
 * Black or white, whichever can be read on this colour.
 * @param {Rgb} color
 */
export function inkOn(color) {
  return color[0] * 0.3 + color[1] * 0.59 + color[2] * 0.11 < 140 ? "#fff" : "#1d2330";
}

/**
 * The ends of the scale as they are written beside a drawing.
 * @param {Scale} scale
 * @returns {{low: string, high: string, stops: Rgb[]}}
 */
export function ends(scale) {
  if (scale.kind === "signed") {
    const limit = String(Number(scale.limit.toPrecision(2)));
    return { low: `−${limit}`, high: limit, stops: [mix(BLUE, 0.9), WHITE, mix(ORANGE, 0.9)] };
  }
  return { low: "0", high: "1", stops: [WHITE, mix(BLUE, 0.92)] };
}
