"""Formulas as text: "scale · Σ_k query[t,h,k] · key[h,s,k]"."""

from openbook.explanation.expression import Infix, Node

COMPARISON, SUM, SIGMA, PRODUCT, POWER, ATOM = range(6)
"""How tightly a formula holds together. A looser one takes parentheses inside a tighter one."""

INFIX: dict[Infix, tuple[int, int]] = {
    "+": (SUM, SUM),
    "−": (SUM, SIGMA),
    "·": (PRODUCT, SIGMA),
    "/": (PRODUCT, POWER),
    "^": (POWER, ATOM),
    "mod": (PRODUCT, POWER),
    "<": (COMPARISON, SUM),
    "≤": (COMPARISON, SUM),
    "≥": (COMPARISON, SUM),
    "=": (COMPARISON, SUM),
    "and": (COMPARISON, COMPARISON),
    "or": (COMPARISON, COMPARISON),
}
"""How tightly an operator between two operands binds, and how tight its right one must be to need no parentheses."""


def format_formula(*sides: Node) -> str:
    """A formula as text; several are the sides of an equation."""
    return " = ".join(map(_text, sides))


def format_number(value: float) -> str:
    """A number as formulas show it: whole or of six digits, with a true minus sign."""
    if float(value).is_integer():
        return f"{int(value)}".replace("-", "−")
    digits, _, power = f"{value:.6g}".partition("e")
    written = f"{digits}e{int(power)}" if power else digits
    return written.replace("-", "−").replace("inf", "∞").replace("nan", "NaN")


def _text(node: Node) -> str:
    match node.operator, node.operands:
        case "number", _:
            return format_number(node.value)
        case "name", index:
            return f"{node.name}[{','.join(map(_text, index))}]" if index else node.name
        case "letter" | "words" | "shorthand", _:
            return node.name
        case "negative", (inner,):
            return f"−{_wrapped(inner, POWER)}"
        case "square", (inner,):
            return f"{_wrapped(inner, ATOM)}²"
        case "sqrt", (inner,):
            return f"√({_text(inner)})"
        case "floor", (inner,):
            return f"⌊{_text(inner)}⌋"
        case "abs", (inner,):
            return f"|{_text(inner)}|"
        case "call", arguments:
            return f"{node.name}({', '.join(map(_text, arguments))})"
        case "sum", (terms,):
            return f"Σ_{node.name} {_wrapped(terms, SIGMA)}"
        case "max" | "argmax", (values,):
            return f"{node.operator}_{node.name} {_text(values)}"
        case "index_of_rank", (values, rank):
            return f"the {node.name} whose {_text(values)} has rank {_text(rank)}"
        case "if", (then, condition, otherwise):
            return f"{_text(then)} if {_text(condition)}, else {_text(otherwise)}"
        case ("+" | "−" | "·" | "/" | "^" | "mod" | "<" | "≤" | "≥" | "=" | "and" | "or") as sign, (left, right):
            return _between(sign, left, right)
    raise AssertionError(node.operator)


def _between(sign: Infix, left: Node, right: Node) -> str:
    binds, needed = INFIX[sign]
    second = _wrapped(right, needed)
    if second.startswith("−") and binds > COMPARISON:
        second = f"({second})"
    written = _wrapped(left, ATOM if sign == "^" else binds) + ("^" if sign == "^" else f" {sign} ") + second
    return f"({written})" if sign == "or" else written


def _wrapped(node: Node, needed: int) -> str:
    """In parentheses, unless it binds as tightly as is needed."""
    text = _text(node)
    negative = needed >= POWER and text.startswith("−")
    return f"({text})" if negative or tightness(node) < needed else text


def tightness(node: Node) -> int:
    """How tightly a formula holds together as text."""
    match node.operator:
        case "or":  # always in parentheses
            return ATOM
        case "+" | "−" | "·" | "/" | "^" | "mod" | "<" | "≤" | "≥" | "=" | "and" as sign:
            return INFIX[sign][0]
        case "negative":
            return PRODUCT
        case "square":
            return POWER
        case "sum":
            return SIGMA
        case "if":
            return COMPARISON
    return ATOM
