/** What a view draws from: the run, the step that is looked at, the state, and the ways to ask for more. */

import { START } from "./store.js";

/** @typedef {import("./store.js").State} State */
/** @typedef {any} Data  see data.js */
/** @typedef {{index: number, id: number, label: string, text: string, position: number, made_by: string, step: number, special: boolean}} Token */
/** @typedef {{path: string, name: string, module: string, stack: string | null, layer: number | null, shape: number[], axes: string[], bytes: number, formula: number, operands: any[]}} Quantity */

/** The order in which the parts of attention follow from each other; a model has those that it needs. */
export const ATTENTION = ["scores", "biased_scores", "capped_scores", "mask", "masked_scores", "weights"];

export class Scene {
  /**
   * @param {Data} data
   * @param {any} manifest
   * @param {any} step  the quantities of the step that is drawn: for the encoder, which runs once, step 0
   * @param {any[]} outline  the algorithm of this step
   * @param {State} state
   * @param {import("./store.js").Store} store
   */
  constructor(data, manifest, step, outline, state, store) {
    this.data = data;
    this.manifest = manifest;
    this.step = step;
    this.outline = outline;
    this.state = state;
    this.store = store;
    /** @type {Map<string, Quantity>} */
    this.byPath = new Map(step.quantities.map((/** @type {Quantity} */ each) => [each.path, each]));
  }

  /** The step of generation itself, whatever stack is drawn. */
  get generated() {
    return this.manifest.steps[this.state.step];
  }

  /** The tokens that this step reads, a row each; in the encoder those of the source. @returns {Token[]} */
  get rows() {
    return this.rowsOf(this.state.stack);
  }

  /** @param {string | null} stack @returns {Token[]} */
  rowsOf(stack) {
    const [from, to] = this.step.tokens;
    return stack === "encoder" ? this.manifest.source : this.manifest.tokens.slice(from, to);
  }

  /** The chosen row; the last one unless another is chosen. */
  get row() {
    const count = this.rows.length;
    const { row } = this.state;
    return row < 0 || row >= count ? count - 1 : row;
  }

  get token() {
    return this.rows[this.row];
  }

  /** The stack that is drawn, as the manifest describes it. */
  get stack() {
    return this.manifest.model.stacks[this.state.stack];
  }

  get layer() {
    return this.stack.layers[Math.min(this.state.layer, this.stack.layers.length - 1)];
  }

  /** The module of the attention that is drawn. */
  get attention() {
    return `${this.layer.path}.${this.state.cross ? "cross_attention" : "self_attention"}`;
  }

  /** What was recorded in a module, in the order of computing. @param {string} module @returns {Quantity[]} */
  within(module) {
    return this.step.quantities.filter(
      (/** @type {Quantity} */ each) => each.module === module || each.module.startsWith(`${module}.`),
    );
  }

  /** @param {string} path @returns {Quantity | undefined} */
  quantity(path) {
    return this.byPath.get(path);
  }

  /** What a quantity means, for a newcomer. @param {Quantity} quantity @returns {string} */
  meaning(quantity) {
    return this.step.formulas[quantity.formula]?.meaning ?? "";
  }

  /**
   * The path whose numbers a quantity only repeats, as a rotated query does where nothing rotates; else null.
   * @param {Quantity} quantity
   * @returns {string | null}
   */
  copyOf(quantity) {
    const formula = this.step.formulas[quantity.formula];
    const operand = quantity.operands[formula?.tree?.operand];
    if (formula?.tree?.op !== "read" || formula.definitions.length || operand?.kind !== "recorded") return null;
    return formula.tree.index.every((/** @type {any} */ at) => at.op === "axis") ? operand.source : null;
  }

  /**
   * The tokens that stand along an axis; null where the axis counts numbers.
   * @param {Quantity} quantity
   * @param {string} letter
   * @returns {Token[] | null}
   */
  tokensAlong(quantity, letter) {
    if (letter !== "t" && letter !== "s") return null;
    const length = quantity.shape[quantity.axes.indexOf(letter)];
    const isSource = stackOf(quantity) === "encoder" || (letter === "s" && quantity.module.includes("cross_attention"));
    const all = isSource ? this.manifest.source : this.manifest.tokens;
    // The keys of a step are all tokens up to its last one; its rows are those that it reads.
    const to = isSource ? all.length : this.step.tokens[1];
    return length <= to ? all.slice(to - length, to) : null;
  }

  /**
   * An index with the given letters; what they leave open is null, and drawn whole.
   * @param {Quantity} quantity
   * @param {Record<string, number>} letters
   * @returns {(number | null)[]}
   */
  index(quantity, letters) {
    return quantity.axes.map((letter, axis) => {
      if (letter === "b" || letter === "_") return 0;
      if (letter in letters) return Math.min(letters[letter], quantity.shape[axis] - 1);
      return quantity.shape[axis] === 1 && letter !== "t" && letter !== "s" ? 0 : null;
    });
  }

  /** Look at one number. @param {string} path @param {number[]} index @param {number} [step] */
  pick(path, index, step) {
    this.store.go(this.stateAt(path, index, step));
  }

  /**
   * The state that shows a number where it belongs: a head's numbers in the head, a layer's in the layer.
   * @param {string} path
   * @param {number[]} index
   * @param {number} [step]
   * @returns {Partial<State>}
   */
  stateAt(path, index, step = this.step.step) {
    /** @type {Partial<State>} */
    const state = { path, index };
    if (step !== this.step.step) Object.assign(state, { step });
    const found = /^(encoder|decoder)\.blocks\.(\d+)\.(?:(self|cross)_attention\.)?/.exec(path);
    const quantity = this.quantity(path);
    const here = this.state;
    const row = quantity ? index[quantity.axes.indexOf("t")] : undefined;
    if (row !== undefined) state.row = row;
    if (!found && quantity) Object.assign(state, { stack: stackOf(quantity) });
    if (!found) return here.level === "panel" || here.level === "answer" ? { ...state, level: "model", panel: START.panel } : state;
    const [, stack, layer, attention] = found;
    Object.assign(state, { stack, layer: Number(layer) });
    const head = quantity ? index[quantity.axes.indexOf("h")] : undefined;
    if (attention && head !== undefined) Object.assign(state, { level: "head", head, cross: attention === "cross" });
    else if (here.level !== "layer" && !(here.level === "head" && attention)) state.level = "layer";
    return state;
  }
}

/** The stack that a quantity belongs to; what comes before and after the blocks is the decoder's or the source's. @param {Quantity} quantity */
export function stackOf(quantity) {
  return quantity.stack ?? (quantity.path.startsWith("source") ? "encoder" : "decoder");
}

/** The name of a number wherever it is drawn. @param {number} step @param {string} path @param {ArrayLike<number>} index */
export function keyOf(step, path, index) {
  return `${step}|${path}|${Array.from(index).join(",")}`;
}
