/** A formula with numbers in place of names, as text: sums and what is read are one number each. */

const TIGHTNESS = { "<": 0, "≤": 0, "≥": 0, "=": 0, and: 0, or: 5, "+": 1, "−": 1, "·": 3, "/": 3, mod: 3, negative: 3, "^": 4, square: 4 };
const LEAVES = new Set(["number", "axis", "letter", "constant", "read", "defined", "sum", "max", "argmax", "index_of_rank", "words", "shorthand"]);
const [COMPARISON, POWER, ATOM] = [0, 4, 5];

/**
 * @param {object} tree
 * @param {{value: (node: object) => number}} evaluation
 * @returns {string}
 */
export function formulaWithNumbers(tree, evaluation) {
  const write = (node) => {
    if (LEAVES.has(node.op)) return formatNumber(evaluation.value(node));
    const inner = (each, needed) => {
      const text = write(each);
      const loose = (LEAVES.has(each.op) ? ATOM : TIGHTNESS[each.op] ?? ATOM) < needed || (text.startsWith("−") && needed >= POWER);
      return loose ? `(${text})` : text;
    };
    switch (node.op) {
      case "if":
        return write(evaluation.value(node.of[1]) ? node.of[0] : node.of[2]);
      case "call":
        return `${node.name}(${node.of.map(write).join(", ")})`;
      case "sqrt":
        return `√(${write(node.of[0])})`;
      case "square":
        return `${inner(node.of[0], ATOM)}²`;
      case "floor":
        return `⌊${write(node.of[0])}⌋`;
      case "abs":
        return `|${write(node.of[0])}|`;
      case "negative":
        return `−${inner(node.of[0], POWER)}`;
      case "^":
        return `${inner(node.of[0], ATOM)}^${inner(node.of[1], ATOM)}`;
    }
    const binds = TIGHTNESS[node.op];
    if (node.op === "or") return `(${write(node.of[0])} or ${write(node.of[1])})`;
    const second = inner(node.of[1], node.op === "and" ? binds : binds + 1);
    return `${inner(node.of[0], binds)} ${node.op} ${second.startsWith("−") && binds > COMPARISON ? `(${second})` : second}`;
  };
  return write(tree);
}

/**
 * A number of six digits, with a true minus sign.
 * @param {number} value
 */
export function formatNumber(value) {
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  const rounded = Number.isInteger(value) ? value : Number(value.toPrecision(6));
  const text = rounded !== 0 && Math.abs(rounded) < 1e-4 ? rounded.toExponential() : String(rounded);
  return text.replaceAll("-", "−");
}
