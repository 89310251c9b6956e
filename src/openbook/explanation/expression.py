"""Numbers that write down how they were reached, so that no formula can differ from what was computed.

A rule computes `scale * read.total(k, query * key)`; from that one line come the value, the formula
"scale · Σ_k query[t,k] · key[s,k]" and the same with numbers in place of names, "0.25 · 3.1".
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

COMPARISON, SUM, SIGMA, PRODUCT, POWER, ATOM = range(6)
"""How tightly an expression holds together; looser ones get parentheses inside tighter ones."""


@dataclass(frozen=True, eq=False)
class Expression:
    """Float64 values (n, 1), or (n, R) and (1, R) for all places of a running letter such as k in Σ_k.

    The n rows are n numbers of one quantity, worked out at once. `symbols` names what was computed, `numbers`
    has the values of the first row instead of the names. A condition is 1 where it holds, else 0.
    """

    value: Tensor
    symbols: str
    numbers: str
    binds: int = ATOM

    def __add__(self, other: "Expression | float") -> "Expression":
        return _join(self, " + ", other, torch.add, SUM)

    def __radd__(self, other: float) -> "Expression":
        return _lift(other) + self

    def __sub__(self, other: "Expression | float") -> "Expression":
        return _join(self, " − ", other, torch.sub, SUM, right=SIGMA)

    def __rsub__(self, other: float) -> "Expression":
        return _lift(other) - self

    def __mul__(self, other: "Expression | float") -> "Expression":
        return _join(self, " · ", other, torch.mul, PRODUCT, right=SIGMA)

    def __rmul__(self, other: float) -> "Expression":
        return _lift(other) * self

    def __truediv__(self, other: "Expression | float") -> "Expression":
        return _join(self, " / ", other, torch.div, PRODUCT, right=ATOM)

    def __rtruediv__(self, other: float) -> "Expression":
        return _lift(other) / self

    def __pow__(self, other: "Expression | float") -> "Expression":
        return _join(self, "^", other, torch.pow, POWER, right=ATOM)

    def __neg__(self) -> "Expression":
        return _written(self, lambda inner: f"−{inner}", torch.neg, needed=ATOM, binds=PRODUCT)

    def __floordiv__(self, other: int) -> "Expression":
        return _written(self / other, lambda inner: f"⌊{inner}⌋", torch.floor)

    def __mod__(self, other: int) -> "Expression":
        return _join(self, " mod ", other, torch.remainder, PRODUCT, right=ATOM)

    def __lt__(self, other: "Expression | float") -> "Expression":
        return _join(self, " < ", other, torch.lt, COMPARISON, right=SUM)

    def __le__(self, other: "Expression | float") -> "Expression":
        return _join(self, " ≤ ", other, torch.le, COMPARISON, right=SUM)

    def __ge__(self, other: "Expression | float") -> "Expression":
        return _join(self, " ≥ ", other, torch.ge, COMPARISON, right=SUM)

    def __and__(self, other: "Expression") -> "Expression":
        return _join(self, " and ", other, torch.minimum, COMPARISON)

    def __or__(self, other: "Expression") -> "Expression":
        joined = _join(self, " or ", other, torch.maximum, COMPARISON)
        return Expression(joined.value, f"({joined.symbols})", f"({joined.numbers})")

    def rows(self, which: Tensor) -> "Expression":
        """Only the rows where `which` (n,) is True."""
        return Expression(self.value[which], self.symbols, self.numbers, self.binds)


def plain(value: float) -> str:
    """A number as the formulas show it: whole or of six digits, with a true minus sign."""
    if float(value).is_integer():
        return f"{int(value)}".replace("-", "−")
    digits, _, power = f"{value:.6g}".partition("e")
    written = f"{digits}e{int(power)}" if power else digits
    return written.replace("-", "−").replace("inf", "∞")


def named(value: Tensor, symbols: str) -> Expression:
    """A value with a name."""
    return Expression(value, symbols, plain(value.flatten()[0].item()) if value.numel() else "")


def constant(value: float, symbols: str) -> Expression:
    """One number with a name."""
    return named(torch.full((1, 1), float(value), dtype=torch.float64), symbols)


def equal(left: Expression, right: Expression | float) -> Expression:
    """Where both are the same (`==` itself keeps its Python meaning)."""
    return _join(left, " = ", right, torch.eq, COMPARISON, right=SUM)


def choose(condition: Expression, then: Expression, otherwise: float) -> Expression:
    """`then` where the condition holds, else `otherwise`."""
    value = torch.where(condition.value.bool(), then.value, otherwise)
    symbols = f"{then.symbols} if {condition.symbols}, else {plain(otherwise)}"
    holds = bool(condition.value.flatten()[0])
    return Expression(value, symbols, then.numbers if holds else plain(otherwise), COMPARISON)


def by_case(
    condition: Expression,
    then: Callable[..., Expression],
    otherwise: Callable[..., Expression],
    index: Sequence[Expression],
) -> Expression:
    """`then(*index)` for the rows where the condition holds, `otherwise(*index)` for the rest.

    Each side reads its operands for its own rows only, so one number shows only what it was made of.
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
    return Expression(value, f"{yes.symbols} if {condition.symbols}, else {no.symbols}", yes.numbers, COMPARISON)


def function(name: str, compute: Callable[[Tensor], Tensor]) -> Callable[[Expression], Expression]:
    """A function of one number, written name(x)."""
    return lambda inner: _written(inner, lambda text: f"{name}({text})", compute)


sqrt = function("√", torch.sqrt)
exp = function("exp", torch.exp)
tanh = function("tanh", torch.tanh)
erf = function("erf", torch.erf)
log = function("ln", torch.log)
sine = function("sin", torch.sin)
cosine = function("cos", torch.cos)


def square(inner: Expression) -> Expression:
    """x²."""
    return _written(inner, lambda text: f"{text}²", torch.square, needed=ATOM)


def floor(inner: Expression) -> Expression:
    """⌊x⌋, the next whole number below."""
    return _written(inner, lambda text: f"⌊{text}⌋", torch.floor)


def magnitude(inner: Expression) -> Expression:
    """|x|."""
    return _written(inner, lambda text: f"|{text}|", torch.abs)


def at_most(most: Expression | float, inner: Expression) -> Expression:
    """min(most, x)."""
    limit = _lift(most)
    return Expression(
        torch.minimum(limit.value, inner.value),
        f"min({limit.symbols}, {inner.symbols})",
        f"min({limit.numbers}, {inner.numbers})",
    )


def at_least(least: float, inner: Expression) -> Expression:
    """max(least, x)."""
    return _written(inner, lambda text: f"max({plain(least)}, {text})", lambda value: value.clamp(min=least))


def _lift(other: "Expression | float") -> Expression:
    if isinstance(other, Expression):
        return other
    return constant(other, plain(other))


def _written(
    inner: Expression,
    write: Callable[[str], str],
    compute: Callable[[Tensor], Tensor],
    needed: int = COMPARISON,
    binds: int = ATOM,
) -> Expression:
    """One expression inside another; `needed` says how tight it must be to need no parentheses."""
    symbols, numbers = _wrap(inner, needed), _wrap(inner, needed, numbers=True)
    return Expression(compute(inner.value), write(symbols), write(numbers), binds)


def _join(
    left: Expression,
    sign: str,
    other: "Expression | float",
    compute: Callable[[Tensor, Tensor], Tensor],
    binds: int,
    right: int | None = None,
) -> Expression:
    """Two expressions with a sign between; `right` says how tight the right one must be to need no parentheses."""
    second = _lift(other)
    needed = binds if right is None else right
    numbers = _wrap(second, needed, numbers=True)
    if numbers.startswith("−") and binds > COMPARISON:
        numbers = f"({numbers})"
    return Expression(
        compute(left.value, second.value).to(torch.float64),
        _wrap(left, binds) + sign + _wrap(second, needed),
        _wrap(left, binds, numbers=True) + sign + numbers,
        binds,
    )


def _wrap(inner: Expression, needed: int, *, numbers: bool = False) -> str:
    text = inner.numbers if numbers else inner.symbols
    loose = " " in text and inner.binds < needed
    negative = needed >= POWER and text.startswith("−")
    return f"({text})" if loose or negative else text
