"""Arithmetic that keeps its own formula, so that no formula can differ from what was computed.

    scale * read.sum("k", query * key)

gives a value, and beside it the tree of the formula: a product of a name and a sum over k of a product of two names.
`expression_text` prints such a tree as "scale · Σ_k query[t,h,k] · key[h,s,k]", `expression_mathml` as MathML.
`with_numbers` puts the numbers in place of the names.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor

Infix = Literal["+", "−", "·", "/", "^", "mod", "<", "≤", "≥", "=", "and", "or"]
Operator = Literal[
    Infix,
    "number",  # a number that the formula itself has
    "name",  # a value with a name; its operands are the index, as in query[t,h,k]
    "letter",  # a letter that a sum or a maximum runs over
    "words",  # a value that no formula explains; the name says where it comes from
    "shorthand",  # a constant that text writes short, such as √2; its operand is the same in full
    "negative",
    "square",
    "sqrt",
    "floor",
    "abs",
    "call",  # a function, such as exp, by its name
    "sum",  # over the letter in `name`, as are the next two
    "max",
    "argmax",
    "index_of_rank",  # where the letter in `name` finds the largest (rank 0), the second largest … of its first operand
    "if",  # operands: what it is where the condition holds, the condition, what it is elsewhere
]


@dataclass(frozen=True)
class Place:
    """Where a leaf of a formula takes its number from.

    Attributes:
        kind: of what is read: recorded, weight, constant, given; or "axis" for a letter of the number's own index.
        source: a recorded path, a tensor's name, words, or the number of the axis.
        index: an expression for each axis of what is read, those that formulas leave out too.
    """

    kind: str
    source: str
    index: tuple["Node", ...] = ()


@dataclass(frozen=True)
class Node:
    """A formula, or a part of one: an operator with its operands, or a leaf.

    Attributes:
        operator: what is done with the operands, or what kind of leaf this is.
        operands: the parts, in the order in which they are written.
        name: of a value or a function, or the letter that is run over.
        value: what it comes to; 1 or 0 for a condition.
        place: where a leaf takes its number from; None for others.
        length: how many values a running letter takes, of whatever runs over one.
    """

    operator: Operator
    operands: tuple["Node", ...] = ()
    name: str = ""
    value: float = math.nan
    place: Place | None = field(default=None, compare=False)
    length: int = field(default=0, compare=False)


@dataclass(frozen=True, eq=False)
class Expression:
    """Float64 values (n, 1), or (n, R) and (1, R) for all R values of a running letter, and the formula behind them.

    The n rows are n numbers of one recorded tensor, computed together. The values in `node` are those of the first.
    A condition is 1 where it holds, else 0.
    """

    value: Tensor
    node: Node

    def __add__(self, other: "Expression | float") -> "Expression":
        return _apply("+", torch.add, self, other)

    def __radd__(self, other: float) -> "Expression":
        return literal(other) + self

    def __sub__(self, other: "Expression | float") -> "Expression":
        return _apply("−", torch.sub, self, other)

    def __rsub__(self, other: float) -> "Expression":
        return literal(other) - self

    def __mul__(self, other: "Expression | float") -> "Expression":
        return _apply("·", torch.mul, self, other)

    def __rmul__(self, other: float) -> "Expression":
        return literal(other) * self

    def __truediv__(self, other: "Expression | float") -> "Expression":
        return _apply("/", torch.div, self, other)

    def __rtruediv__(self, other: float) -> "Expression":
        return literal(other) / self

    def __pow__(self, other: "Expression | float") -> "Expression":
        return _apply("^", torch.pow, self, other)

    def __neg__(self) -> "Expression":
        return _apply("negative", torch.neg, self)

    def __floordiv__(self, other: int) -> "Expression":
        return floor(self / other)

    def __mod__(self, other: int) -> "Expression":
        return _apply("mod", torch.remainder, self, other)

    def __lt__(self, other: "Expression | float") -> "Expression":
        return _apply("<", torch.lt, self, other)

    def __le__(self, other: "Expression | float") -> "Expression":
        return _apply("≤", torch.le, self, other)

    def __ge__(self, other: "Expression | float") -> "Expression":
        return _apply("≥", torch.ge, self, other)

    def __and__(self, other: "Expression") -> "Expression":
        return _apply("and", torch.minimum, self, other)

    def __or__(self, other: "Expression") -> "Expression":
        return _apply("or", torch.maximum, self, other)

    def rows(self, which: Tensor) -> "Expression":
        """Only the rows where `which` (n,) is True."""
        return replace(self, value=self.value[which])


# Leaves.


def _tensor(value: float) -> Tensor:
    return torch.full((1, 1), float(value), dtype=torch.float64)


def _first(value: Tensor) -> float:
    return value.flatten()[0].item() if value.numel() else math.nan


def named(value: Tensor, name: str, index: Sequence[Node] = (), place: Place | None = None) -> Expression:
    """A value with a name and its index, and where it is taken from."""
    return Expression(value, Node("name", tuple(index), name, _first(value), place))


def constant(value: float, name: str, source: str = "") -> Expression:
    """One number with a name; `source` says where it comes from."""
    return named(_tensor(value), name, place=Place("constant", source))


def literal(value: float) -> Expression:
    """One number that the formula writes as it is."""
    return Expression(_tensor(value), Node("number", value=float(value)))


PI = constant(math.pi, "π")


def shorthand(name: str, full: Expression) -> Expression:
    """A constant that text writes as `name` and MathML in full."""
    return Expression(full.value, Node("shorthand", (full.node,), name, full.node.value))


# Functions.


def function(name: str, compute: Callable[[Tensor], Tensor]) -> Callable[[Expression], Expression]:
    """A function of one number, written name(x)."""
    return lambda inner: _apply("call", compute, inner, name=name)


exp = function("exp", torch.exp)
tanh = function("tanh", torch.tanh)
erf = function("erf", torch.erf)
log = function("ln", torch.log)
sin = function("sin", torch.sin)
cos = function("cos", torch.cos)


def sqrt(inner: Expression) -> Expression:
    """√x."""
    return _apply("sqrt", torch.sqrt, inner)


def square(inner: Expression) -> Expression:
    """x²."""
    return _apply("square", torch.square, inner)


def floor(inner: Expression) -> Expression:
    """⌊x⌋, the next whole number below."""
    return _apply("floor", torch.floor, inner)


def absolute(inner: Expression) -> Expression:
    """|x|."""
    return _apply("abs", torch.abs, inner)


def minimum(one: Expression | float, other: Expression) -> Expression:
    """min(x, y)."""
    return _apply("call", torch.minimum, one, other, name="min")


def maximum(one: Expression | float, other: Expression) -> Expression:
    """max(x, y)."""
    return _apply("call", torch.maximum, one, other, name="max")


# Conditions.


def equal(left: Expression, right: Expression | float) -> Expression:
    """Where both are the same (`==` itself keeps its Python meaning)."""
    return _apply("=", torch.eq, left, right)


def where(condition: Expression, then: Expression, otherwise: float) -> Expression:
    """`then` where the condition holds, else `otherwise`."""
    value = torch.where(condition.value.bool(), then.value, otherwise)
    return _if(condition, then, literal(otherwise), value)


def piecewise(
    condition: Expression,
    then: Callable[..., Expression],
    otherwise: Callable[..., Expression],
    index: Sequence[Expression],
) -> Expression:
    """`then(*index)` for the rows where the condition holds, `otherwise(*index)` for the rest.

    Each side reads its operands for its own rows only, so the derivation of one number shows only what it uses.
    """
    holds = condition.value[:, 0].bool()
    if holds.all():
        return then(*index)
    if not holds.any():
        return otherwise(*index)
    yes = then(*(each.rows(holds) for each in index))
    no = otherwise(*(each.rows(~holds) for each in index))
    value = condition.value.clone()
    value[holds], value[~holds] = yes.value, no.value
    return _if(condition, yes, no, value)


# Running letters.


def running(letter: str, length: int) -> Expression:
    """A running letter: 0, 1, … length − 1 at once, (1, length)."""
    return Expression(torch.arange(length, dtype=torch.float64)[None], Node("letter", name=letter))


def sum_over(letter: str, terms: Expression) -> Expression:
    """Σ over the running letter: terms (n, R) → (n, 1)."""
    return _reduce("sum", letter, terms.value.sum(-1, keepdim=True), terms)


def max_over(letter: str, values: Expression) -> Expression:
    """The maximum over the running letter: values (n, R) → (n, 1)."""
    return _reduce("max", letter, values.value.amax(-1, keepdim=True), values)


def argmax_over(letter: str, values: Expression) -> Expression:
    """Where the running letter finds the maximum: values (n, R) → (n, 1)."""
    return _reduce("argmax", letter, values.value.argmax(-1, keepdim=True), values)


def index_of_rank(letter: str, values: Expression, rank: Expression) -> Expression:
    """Where the running letter finds the largest value (rank 0), the next largest (rank 1) …

    values (n, R) and rank (n, 1) → (n, 1).
    """
    order = values.value.sort(stable=True, dim=-1, descending=True).indices
    index = order.expand(len(rank.value), -1).gather(-1, rank.value.long())
    return _reduce("index_of_rank", letter, index, values, rank)


# Numbers in place of names.


def with_numbers(node: Node) -> Node:
    """The formula with numbers in place of names; a sum is one number, and of two cases the one that holds is left."""
    match node.operator:
        case "name" | "words" | "shorthand" | "sum" | "max" | "argmax" | "index_of_rank":
            return Node("number", value=node.value)
        case "if":
            then, condition, otherwise = node.operands
            return with_numbers(then if condition.value else otherwise)
    return replace(node, operands=tuple(map(with_numbers, node.operands)))


def _apply(
    operator: Operator, compute: Callable[..., Tensor], *operands: Expression | float, name: str = ""
) -> Expression:
    given = [each if isinstance(each, Expression) else literal(each) for each in operands]
    value = compute(*(each.value for each in given)).to(torch.float64)
    return Expression(value, Node(operator, tuple(each.node for each in given), name, _first(value)))


def _reduce(operator: Operator, letter: str, value: Tensor, *operands: Expression) -> Expression:
    value, length = value.to(torch.float64), operands[0].value.shape[-1]
    return Expression(
        value, Node(operator, tuple(each.node for each in operands), letter, _first(value), length=length)
    )


def _if(condition: Expression, then: Expression, otherwise: Expression, value: Tensor) -> Expression:
    return Expression(value, Node("if", (then.node, condition.node, otherwise.node), value=_first(value)))
