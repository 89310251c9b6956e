/** What is being looked at. The address holds all of it, so that a link reproduces the view. */

/**
 * @typedef {object} State
 * @property {number} step  of generation
 * @property {"answer" | "model" | "layer" | "head" | "panel"} level
 * @property {string} panel  which panel, where the level is "panel"
 * @property {"decoder" | "encoder"} stack
 * @property {number} layer
 * @property {number} head
 * @property {boolean} cross  cross-attention rather than self-attention
 * @property {number} row  of the step's tokens (or of the source in the encoder); −1 is the last
 * @property {string} path  of the chosen number; empty where none is chosen
 * @property {number[]} index  of the chosen number
 * @property {string} point  the path of the quantity that a step of the algorithm points at
 * @property {string} tensor  that the model file panel shows
 * @property {string} color  what colours the model view: lens, length or contribution
 * @property {number} stop  of the learner's path; −1 where it is not walked
 */

/** @type {State} */
export const START = {
  step: 0,
  level: "answer",
  panel: "",
  stack: "decoder",
  layer: 0,
  head: 0,
  cross: false,
  row: -1,
  path: "",
  index: [],
  point: "",
  tensor: "",
  color: "lens",
  stop: -1,
};

const LEVELS = ["answer", "model", "layer", "head", "panel"];

export class Store {
  /** @param {boolean} addressed  whether the address bar is ours to write to; not in a notebook's frame */
  constructor(addressed) {
    this.addressed = addressed;
    /** @type {State} */
    this.state = addressed ? readAddress(location.hash) : { ...START };
    /** @type {((state: State) => void)[]} */
    this.listeners = [];
    if (addressed) addEventListener("popstate", () => this.set(readAddress(location.hash)));
  }

  /** @param {(state: State) => void} listener */
  listen(listener) {
    this.listeners.push(listener);
  }

  /**
   * Look at something else; what is not named stays as it is.
   * @param {Partial<State>} changes
   */
  go(changes) {
    const state = { ...this.state, ...changes };
    if (this.addressed) history.pushState(null, "", writeAddress(state) || "#");
    this.set(state);
  }

  /** @param {State} state */
  set(state) {
    this.state = state;
    for (const listener of this.listeners) listener(state);
  }
}

/**
 * "#level=head&layer=3": only what differs from the start is written.
 * @param {State} state
 */
export function writeAddress(state) {
  const fields = new URLSearchParams();
  for (const [key, value] of Object.entries(state)) {
    const text = String(value);
    if (text !== String(START[/** @type {keyof State} */ (key)])) fields.set(key, text);
  }
  return `#${fields}`;
}

/**
 * The state that an address stands for. What makes no sense in it is left at its start.
 * @param {string} hash
 * @returns {State}
 */
export function readAddress(hash) {
  const fields = new URLSearchParams(hash.slice(1));
  /** @type {Record<string, any>} */
  const state = { ...START };
  for (const [key, text] of fields) {
    if (!(key in START)) continue;
    const start = START[/** @type {keyof State} */ (key)];
    if (typeof start === "number") state[key] = /^-?\d{1,9}$/.test(text) ? Number(text) : start;
    else if (typeof start === "boolean") state[key] = text === "true";
    else if (Array.isArray(start)) state[key] = /^\d{1,9}(,\d{1,9})*$/.test(text) ? text.split(",").map(Number) : [];
    else state[key] = text;
  }
  if (!LEVELS.includes(state.level)) state.level = START.level;
  if (state.stack !== "encoder") state.stack = "decoder";
  return /** @type {State} */ (state);
}
