"""The two sums that many parts make: of a linear layer, and of a softmax."""

from torch import nn

from openbook.explanation.expression import Expression, exp
from openbook.explanation.reader import Reader


def linear(read: Reader, layer: str, b: Expression, t: Expression, row: Expression, letter: str = "d") -> Expression:
    """x · weightᵀ + bias for one token and one row of the child `layer`, with `letter` running over its inputs."""
    module = read.part.get_submodule(layer)
    assert isinstance(module, nn.Linear)
    path = read.into(layer)
    i = read.each(letter, module.in_features)
    name = "x" if path.endswith(".output") or not path.startswith(read.path) else None
    x = read.recorded(path, b, t, i, name=name)
    result = read.total(letter, x * read.weight(f"{layer}.weight", row, i))
    return result if module.bias is None else result + read.weight(f"{layer}.bias", row)


def softmax(read: Reader, one: Expression, all_of_them: Expression, sink: Expression | None = None) -> Expression:
    """exp(one) / Σ_j exp(all); the largest is taken off first, which changes nothing but keeps exp from overflowing.

    A sink is one more score that takes its share and brings nothing.
    """
    top = read.define("top", read.largest("j", all_of_them))
    total = read.total("j", exp(all_of_them - top))
    return exp(one - top) / (total if sink is None else exp(sink - top) + total)
