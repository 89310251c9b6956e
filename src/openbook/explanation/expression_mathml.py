"""Formulas as presentation MathML, with fractions, roots and indices set as the textbook has them.

Only elements of MathML Core are used, so browsers show them without a library. All text is escaped.
"""

from collections.abc import Iterable
from xml.etree.ElementTree import Element, tostring

from openbook.explanation.expression import Node
from openbook.explanation.expression_text import ATOM, INFIX, POWER, SIGMA, SUM, format_number, tightness

NAMESPACE = "http://www.w3.org/1998/Math/MathML"
APPLY = "\N{FUNCTION APPLICATION}"


def format_mathml(*sides: Node) -> str:
    """A formula as a <math> element; several are the sides of an equation."""
    row: list[Element] = []
    for side in sides:
        row += [_operator("="), _math(side)] if row else [_math(side)]
    math = _element("math", *row)
    math.attrib |= {"xmlns": NAMESPACE, "display": "block"}
    return tostring(math, encoding="unicode")


def _math(node: Node) -> Element:
    match node.operator, node.operands:
        case "number", _:
            return _number(node.value)
        case "name", index:
            return _indexed(node.name, [_math(each) for each in index])
        case "letter", _:
            return _identifier(node.name)
        case "words", _:
            return _words(node.name)
        case "shorthand", (full,):
            return _math(full)
        case "negative", (inner,):
            return _row(_operator("−"), _wrapped(inner, POWER))
        case "square", (inner,):
            return _element("msup", _wrapped(inner, ATOM), _leaf("mn", "2"))
        case "sqrt", (inner,):
            return _element("msqrt", _math(inner))
        case "floor", (inner,):
            return _fenced("⌊", "⌋", _math(inner))
        case "abs", (inner,):
            return _fenced("|", "|", _math(inner))
        case "call", arguments:
            return _row(_identifier(node.name), _operator(APPLY), _fenced("(", ")", *_commas(map(_math, arguments))))
        case "sum", (terms,):
            return _row(_under("∑", node.name), _wrapped(terms, SIGMA))
        case "max" | "argmax", (values,):
            return _row(_under(node.operator, node.name), _math(values))
        case "index_of_rank", (values, rank):
            return _row(
                _words("the "),
                _identifier(node.name),
                _words(" whose "),
                _math(values),
                _words(" has rank "),
                _math(rank),
            )
        case "if", (then, condition, otherwise):
            return _cases(then, condition, otherwise)
        case "/", (left, right):
            return _element("mfrac", _math(left), _math(right))
        case "^", (left, right):
            return _element("msup", _wrapped(left, ATOM), _math(right))
        case ("+" | "−" | "·" | "mod" | "<" | "≤" | "≥" | "=" | "and" | "or") as sign, (left, right):
            binds, needed = INFIX[sign]
            joined = _row(_wrapped(left, binds), _operator(sign), _right(right, needed, binds))
            return _fenced("(", ")", joined) if sign == "or" else joined
    raise AssertionError(node.operator)


def _right(node: Node, needed: int, binds: int) -> Element:
    """The right operand; one that begins with a minus sign takes parentheses in a sum or a product."""
    negative = binds >= SUM and _begins_with_minus(node)
    return _parenthesised(node) if negative else _wrapped(node, needed)


def _wrapped(node: Node, needed: int) -> Element:
    """In parentheses, unless it binds as tightly as is needed."""
    loose = _tightness(node) < needed
    return _parenthesised(node) if loose or (needed >= POWER and _begins_with_minus(node)) else _math(node)


def _tightness(node: Node) -> int:
    """As in text, but a fraction needs no parentheses inside a product: its bar holds it together."""
    return POWER if node.operator == "/" else tightness(node)


def _begins_with_minus(node: Node) -> bool:
    match node.operator:
        case "negative":
            return True
        case "number":
            return node.value < 0
        case "+" | "−" | "·" | "mod":
            return _begins_with_minus(node.operands[0])
    return False


def _parenthesised(node: Node) -> Element:
    return _fenced("(", ")", _math(node))


def _indexed(name: str, index: list[Element]) -> Element:
    return _element("msub", _identifier(name), _row(*_commas(index))) if index else _identifier(name)


def _cases(then: Node, condition: Node, otherwise: Node) -> Element:
    """Two lines with a brace before them."""
    rows = (
        _element("mtr", _element("mtd", _math(then)), _element("mtd", _words("if "), _math(condition))),
        _element("mtr", _element("mtd", _math(otherwise)), _element("mtd", _words("otherwise"))),
    )
    return _row(_operator("{"), _element("mtable", *rows))


def _number(value: float) -> Element:
    """1.5, or 1.5 · 10⁻⁷ for what is written with a power of ten."""
    digits, _, power = format_number(value).partition("e")
    if not power:
        return _signed(digits)
    return _row(_signed(digits), _operator("·"), _element("msup", _leaf("mn", "10"), _signed(power)))


def _signed(digits: str) -> Element:
    number = _leaf("mn", digits.removeprefix("−"))
    return _row(_operator("−"), number) if digits.startswith("−") else number


def _under(operator: str, letter: str) -> Element:
    return _element("munder", _operator(operator), _identifier(letter))


def _commas(elements: Iterable[Element]) -> list[Element]:
    return [part for each in elements for part in (_operator(","), each)][1:]


def _fenced(opening: str, closing: str, *inside: Element) -> Element:
    return _row(_operator(opening), *inside, _operator(closing))


def _identifier(name: str) -> Element:
    return _leaf("mi", name)


def _operator(sign: str) -> Element:
    return _leaf("mo", sign)


def _words(text: str) -> Element:
    return _leaf("mtext", text.replace(" ", "\N{NO-BREAK SPACE}"))  # MathML drops spaces at the ends


def _row(*parts: Element) -> Element:
    return _element("mrow", *parts)


def _element(tag: str, *parts: Element) -> Element:
    element = Element(tag)
    element.extend(parts)
    return element


def _leaf(tag: str, text: str) -> Element:
    element = Element(tag)
    element.text = text
    return element
