"""The formulas of a pass, each once: as text, as MathML, and as a tree that a program can evaluate.

A tree names its operands by number, so that the same formula serves all layers; each quantity lists what its operands
are. The nodes of a tree are objects:

    {"op": "number", "value": 2}                       a number of the formula itself; "unnamed": not written
    {"op": "axis", "axis": 2, "name": "t"}             a letter of the index of the number that follows
    {"op": "letter", "name": "k"}                      a letter that a sum, a maximum … runs over
    {"op": "read", "operand": 0, "index": [NODE …]}    a number of operand 0; the index has an entry for each axis,
                                                       and an axis of length 1 has only the index 0
    {"op": "constant", "operand": 1}                   the value of operand 1
    {"op": "defined", "name": "top"}                   a definition of the formula, by name
    {"op": "sum", "letter": "k", "length": 8, "of": [NODE]}; max, argmax, index_of_rank (of: values, rank) alike
    {"op": "if", "of": [THEN, CONDITION, OTHERWISE]}
    {"op": "call", "name": "exp", "of": [NODE …]}      exp, tanh, erf, ln, sin, cos, min, max
    {"op": "+", "of": [NODE, NODE]} …                  + − · / ^ mod < ≤ ≥ = and or, negative, square, sqrt, floor, abs
"""

import json
from dataclasses import dataclass, field
from typing import Any

from openbook.explanation.derivations import GeneralFormula
from openbook.explanation.expression import Node
from openbook.explanation.expression_mathml import format_mathml
from openbook.explanation.expression_text import format_formula
from openbook.explanation.page.json_values import plain

RUNNING = ("sum", "max", "argmax", "index_of_rank")


@dataclass(frozen=True)
class FormulaOperand:
    """A name in a formula and what it stands for: a recorded path, a tensor, or a constant with its value."""

    name: str
    kind: str
    source: str
    value: float | None = None


@dataclass
class FormulaTable:
    """Formulas in the order in which they were first met."""

    formulas: list[dict[str, Any]] = field(default_factory=list)
    _number_of: dict[str, int] = field(default_factory=dict)

    def add(self, formula: GeneralFormula) -> tuple[int, list[FormulaOperand]]:
        """Enter a formula; return its number in the table, and its operands here."""
        operands: list[FormulaOperand] = []
        left, right = formula.equation
        entry: dict[str, Any] = {
            "meaning": formula.meaning.partition("\n")[0],
            "text": format_formula(left, right),
            "tree": tree(right, operands),
            "definitions": [
                {"name": name, "text": format_formula(node), "tree": tree(node, operands)}
                for name, node in formula.definitions
            ],
        }
        constants = [(each.name, each.value) for each in operands if each.kind == "constant"]
        key = json.dumps(plain([entry, constants]))
        if key not in self._number_of:
            self._number_of[key] = len(self.formulas)
            entry["mathml"] = format_mathml(left, right)
            for definition, (name, node) in zip(entry["definitions"], formula.definitions, strict=True):
                definition["mathml"] = format_mathml(Node("name", name=name), node)
            self.formulas.append(entry)
        return self._number_of[key], operands


def tree(node: Node, operands: list[FormulaOperand]) -> dict[str, Any]:
    """A formula's tree in JSON's values; what it reads is added to `operands`."""
    place, operator = node.place, node.operator
    if operator == "number":
        return {"op": "number", "value": node.value}
    if place is not None and place.kind == "constant" and not node.name:
        return {"op": "number", "value": node.value, "unnamed": True}
    if operator == "letter":
        return {"op": "letter", "name": node.name}
    if place is not None:
        if place.kind == "axis":
            return {"op": "axis", "axis": int(place.source), "name": node.name}
        value = node.value if place.kind == "constant" else None
        operand = FormulaOperand(node.name if operator == "name" else "", place.kind, place.source, value)
        if operand not in operands:
            operands.append(operand)
        number = operands.index(operand)
        if place.kind == "constant":
            return {"op": "constant", "operand": number, "name": node.name}
        return {"op": "read", "operand": number, "index": [tree(each, operands) for each in place.index]}
    if operator == "name":
        return {"op": "defined", "name": node.name}
    inside = {"op": operator, "of": [tree(each, operands) for each in node.operands]}
    if operator in RUNNING:
        return inside | {"letter": node.name, "length": node.length}
    return inside | ({"name": node.name} if node.name else {})
