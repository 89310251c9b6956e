/**
 * One number, computed from the tree of its formula and the numbers that a file carries: the same as the server's
 * derivation. The trees are described in explanation/page/formula_table.py.
 */

import { formulaWithNumbers } from "./formula_text.js";

const FUNCTIONS = { exp: Math.exp, tanh: Math.tanh, erf, ln: Math.log, sin: Math.sin, cos: Math.cos, min: Math.min, max: Math.max };
const OPERATORS = {
  "+": (a, b) => a + b,
  "−": (a, b) => a - b,
  "·": (a, b) => a * b,
  "/": (a, b) => a / b,
  "^": (a, b) => a ** b,
  mod: (a, b) => a - b * Math.floor(a / b),
  "<": (a, b) => Number(a < b),
  "≤": (a, b) => Number(a <= b),
  "≥": (a, b) => Number(a >= b),
  "=": (a, b) => Number(a === b),
  and: Math.min,
  or: Math.max,
  negative: (a) => -a,
  square: (a) => a * a,
  sqrt: Math.sqrt,
  floor: Math.floor,
  abs: Math.abs,
};

/**
 * @param {object} step the quantities of a step
 * @param {number} number of the step
 * @param {string} path of the quantity
 * @param {number[]} index
 * @param {{read: Function, shapeOf: Function, largest: Function, byte: Function, terms: number | "all"}} from where
 *   numbers are read; `largest` gives the largest size in a recorded quantity
 */
export function derive(step, number, path, index, { read, shapeOf, largest, byte, terms }) {
  const entry = step.quantities.find((each) => each.path === path);
  if (!entry) throw new Error(`nothing is recorded under “${path}” in step ${number}`);
  const formula = step.formulas[entry.formula];
  const work = new Evaluation(entry, formula, index, read, shapeOf);
  const recomputed = work.value(formula.tree);
  const recorded = read("recorded", path, clipped(index, entry.shape));
  const error = Object.is(recomputed, recorded) || recomputed === recorded ? 0 : Math.abs(recomputed - recorded);
  return {
    step: number,
    path,
    index,
    axes: entry.axes,
    letters: Object.fromEntries(entry.axes.map((letter, axis) => [letter, index[axis]]).filter(([letter]) => letter !== "_")),
    meaning: formula.meaning,
    formula: { text: formula.text, mathml: formula.mathml },
    numbers: { text: formulaWithNumbers(formula.tree, work), mathml: null },
    definitions: formula.definitions
      .filter((each) => work.defined.has(each.name))
      .map((each) => ({
        name: each.name,
        formula: { text: each.text, mathml: each.mathml },
        numbers: { text: formulaWithNumbers(each.tree, work), mathml: null },
        value: work.defined.get(each.name),
      })),
    operands: work.operands(number, byte, terms),
    sums: work.sums.map((each) => shortened(each, terms)),
    recomputed,
    recorded,
    error,
    relative_error: error / (largest(path) || 1),
  };
}

/** The evaluation of one formula at one index, which keeps what it read. */
export class Evaluation {
  constructor(entry, formula, index, read, shapeOf) {
    this.entry = entry;
    this.formula = formula;
    this.index = index;
    this.read = read;
    this.shapeOf = shapeOf;
    this.letters = new Map();
    this.defined = new Map();
    /** @type {{letter: string, terms: number[], total: number}[]} */
    this.sums = [];
    this.seen = new Map();
  }

  /** @returns {number} what a node comes to */
  value(node) {
    switch (node.op) {
      case "number":
        return node.value;
      case "axis":
        return this.index[node.axis];
      case "letter":
        return this.letters.get(node.name);
      case "constant":
        return this.keep(node, [], this.entry.operands[node.operand].value);
      case "read":
        return this.readNumber(node);
      case "defined":
        return this.definition(node.name);
      case "words":
      case "shorthand":
        return this.value(node.of[0]);
      case "if":
        return this.value(this.value(node.of[1]) ? node.of[0] : node.of[2]);
      case "call":
        return FUNCTIONS[node.name](...node.of.map((each) => this.value(each)));
      case "sum":
      case "max":
      case "argmax":
      case "index_of_rank":
        return this.running(node);
    }
    return OPERATORS[node.op](...node.of.map((each) => this.value(each)));
  }

  definition(name) {
    if (!this.defined.has(name)) {
      const { tree } = this.formula.definitions.find((each) => each.name === name);
      this.defined.set(name, this.value(tree));
    }
    return this.defined.get(name);
  }

  readNumber(node) {
    const operand = this.entry.operands[node.operand];
    const kind = operand.kind === "weight" ? "weight" : "recorded";
    const shape = operand.shape ?? this.shapeOf(kind, operand.source);
    const at = clipped(node.index.map((each) => this.value(each)), shape);
    return this.keep(node, at, this.read(kind, operand.source, at));
  }

  /** Note what was read: one number for each value of the running letter that its index uses. */
  keep(node, at, value) {
    const name = `${node.operand} ${JSON.stringify(node.index ?? null)}`;
    if (!this.seen.has(name)) this.seen.set(name, { node, letter: letterIn(node), numbers: [] });
    const found = this.seen.get(name);
    const where = found.letter === null ? null : this.letters.get(found.letter);
    if (!found.numbers.some((each) => each.at === where)) found.numbers.push({ at: where, value, index: at });
    return value;
  }

  /** A sum, a maximum …: over all values of its letter. */
  running(node) {
    const outer = this.letters.get(node.letter);
    const terms = [];
    for (let i = 0; i < node.length; i++) {
      this.letters.set(node.letter, i);
      terms.push(this.value(node.of[0]));
    }
    this.letters.set(node.letter, outer);
    if (node.op === "max") return terms.reduce((a, b) => Math.max(a, b), -Infinity);
    if (node.op === "argmax") return terms.indexOf(terms.reduce((a, b) => Math.max(a, b), -Infinity));
    if (node.op === "index_of_rank") return ranked(terms)[this.value(node.of[1])];
    const total = terms.reduce((a, b) => a + b, 0);
    this.sums.push({ letter: node.letter, terms, total });
    return total;
  }

  /** What was read, as the server lists it. */
  operands(step, byte, terms) {
    const order = new Map(this.sums.map((each) => [each.terms.length, shortened(each, terms).terms.map((term) => term.at)]));
    const named = [...this.seen.values()].filter(({ node }) => this.entry.operands[node.operand].source !== "");
    return named.map(({ node, letter, numbers }) => {
      const operand = this.entry.operands[node.operand];
      const shown = letter === null ? [0] : (order.get(numbers.length) ?? [...numbers.keys()].slice(0, 16));
      return {
        symbols: symbolsOf(node, this.entry),
        name: operand.name,
        kind: operand.kind,
        source: operand.source,
        step,
        count: numbers.length,
        left_out: numbers.length - shown.length,
        numbers: shown.map((at) => ({
          ...numbers[at],
          byte: operand.kind === "weight" ? byte(operand.source, numbers[at].index) : null,
        })),
      };
    });
  }
}

/** An axis of length 1 stands for all, as in broadcasting. */
function clipped(index, shape) {
  return index.map((each, axis) => (shape[axis] === 1 ? 0 : each));
}

/** The running letter in a node's index, or null. */
function letterIn(node) {
  if (node.op === "letter") return node.name;
  for (const each of [...(node.index ?? []), ...(node.of ?? [])]) {
    const found = letterIn(each);
    if (found !== null) return found;
  }
  return null;
}

/** What is read, as the formula writes it: weight[token[t],d]. What is given has the name of what is derived. */
function symbolsOf(node, entry) {
  const operand = entry.operands[node.operand];
  const name = operand.name || (operand.kind === "given" ? entry.name : operand.kind);
  const names = (node.index ?? []).map((each) => indexName(each, entry)).filter((each) => each !== "");
  return names.length ? `${name}[${names.join(",")}]` : name;
}

function indexName(node, entry) {
  if (node.op === "axis" || node.op === "letter") return node.name;
  if (node.op === "number") return node.unnamed ? "" : String(node.value);
  if (node.op === "read" || node.op === "constant") return symbolsOf(node, entry);
  const [one, other] = (node.of ?? []).map((each) => indexName(each, entry));
  if (node.op === "call") return `${node.name}(${[one, other].filter((each) => each !== undefined).join(", ")})`;
  if (node.op === "floor") return `⌊${one}⌋`;
  return other === undefined ? one ?? "" : `${one} ${node.op} ${other}`;
}

function shortened({ letter, terms, total }, count) {
  const order = [...terms.keys()].sort((a, b) => Math.abs(terms[b]) - Math.abs(terms[a]));
  const shown = count === "all" ? order : order.slice(0, count);
  const kept = new Set(shown);
  return {
    letter,
    symbols: `Σ_${letter}`,
    total,
    count: terms.length,
    terms: shown.map((at) => ({ at, value: terms[at] })),
    left_out: terms.length - shown.length,
    rest: terms.reduce((sum, value, at) => (kept.has(at) ? sum : sum + value), 0),
  };
}

/** The places of values from the largest to the smallest; equal ones in order. */
function ranked(values) {
  return [...values.keys()].sort((a, b) => values[b] - values[a] || a - b);
}

/** The error function: its Taylor series, and beyond 3 the continued fraction of its complement. */
function erf(x) {
  const size = Math.abs(x);
  if (size < 3) {
    let term = size;
    let sum = size;
    for (let n = 1; n < 100; n++) {
      term *= (-size * size) / n;
      sum += term / (2 * n + 1);
    }
    return (Math.sign(x) * 2 * sum) / Math.sqrt(Math.PI);
  }
  let fraction = 0;
  for (let n = 60; n > 0; n--) fraction = (n / 2) / (size + fraction);
  return Math.sign(x) * (1 - Math.exp(-size * size) / (Math.sqrt(Math.PI) * (size + fraction)));
}
