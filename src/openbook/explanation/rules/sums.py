"""The two sums that many parts compute: that of a linear layer, and that of a softmax."""

from torch import nn

from openbook.explanation.expression import Expression, exp, max_over, running
from openbook.explanation.reader import Reader


def linear(read: Reader, layer: str, b: Expression, t: Expression, row: Expression, letter: str = "d") -> Expression:
    """x · weightᵀ + bias for one token and one row of the child `layer`; `letter` runs over its inputs."""
    module = read.part.get_submodule(layer)
    assert isinstance(module, nn.Linear)
    path = read.input_of(layer)
    i = running(letter, module.in_features)
    name = "x" if path.endswith(".output") or not path.startswith(read.path) else None
    x = read.recorded(path, b, t, i, name=name)
    result = read.sum(letter, x * read.weight(f"{layer}.weight", row, i))
    return result if module.bias is None else result + read.weight(f"{layer}.bias", row)


def softmax(read: Reader, path: str, *index: Expression, sink: Expression | None = None) -> Expression:
    """exp(x) / Σ_j exp(x_j), with x the number recorded at this index and j running over the last axis.

    The largest x_j is subtracted first: this changes nothing but keeps exp from overflowing. A sink is one more score:
    it takes its share of the softmax and contributes nothing.
    """
    one = read.recorded(path, *index)
    row = read.recorded(path, *index[:-1], running("j", read.shape(path)[-1]))
    top = read.define("top", max_over("j", row))
    total = read.sum("j", exp(row - top))
    return exp(one - top) / (total if sink is None else exp(sink - top) + total)
