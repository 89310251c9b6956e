"""Rules for LayerNorm and RMSNorm."""

from openbook.explanation.expression import Expression, running, sqrt, square
from openbook.explanation.reader import SINGLETON, Reader
from openbook.explanation.rules.table import rule
from openbook.transformer.norm import LayerNorm, RMSNorm


@rule(RMSNorm, "mean_square")
def mean_square(read: Reader, *index: Expression) -> Expression:
    """The mean square of this vector: how large its numbers are."""
    x, width = _whole(read, index)
    return read.sum("d", square(x)) / width


@rule(LayerNorm, "mean")
def mean(read: Reader, *index: Expression) -> Expression:
    """The mean of this vector's numbers."""
    x, width = _whole(read, index)
    return read.sum("d", x) / width


@rule(LayerNorm, "variance")
def variance(read: Reader, *index: Expression) -> Expression:
    """The variance of this vector: how far its numbers spread around their mean."""
    x, width = _whole(read, index)
    return read.sum("d", square(x - _statistic(read, "mean", index))) / width


@rule(RMSNorm, "output")
def rms_output(read: Reader, *index: Expression) -> Expression:
    """The number, divided by the root mean square of its vector, times its weight."""
    x = read.recorded(read.input_of(), *index, name="x")
    return x / sqrt(_statistic(read, "mean_square", index) + _epsilon(read)) * _scale(read, index[-1])


@rule(LayerNorm, "output")
def layer_output(read: Reader, *index: Expression) -> Expression:
    """The number's distance from the mean, divided by the standard deviation, times its weight."""
    assert isinstance(read.part, LayerNorm)
    x = read.recorded(read.input_of(), *index, name="x")
    spread = sqrt(_statistic(read, "variance", index) + _epsilon(read))
    normed = (x - _statistic(read, "mean", index)) / spread * _scale(read, index[-1])
    return normed if read.part.bias is None else normed + read.weight("bias", index[-1])


def _whole(read: Reader, index: tuple[Expression, ...]) -> tuple[Expression, int]:
    """All numbers of the vector that is normalised, and how many there are."""
    path = read.input_of()
    width = read.shape(path)[-1]
    return read.recorded(path, *index[:-1], running("d", width), name="x"), width


def _statistic(read: Reader, name: str, index: tuple[Expression, ...]) -> Expression:
    return read.noted(name, *index[:-1], SINGLETON)


def _epsilon(read: Reader) -> Expression:
    assert isinstance(read.part, LayerNorm | RMSNorm)
    return read.constant("ε", read.part.epsilon, "epsilon of this norm in the architecture")


def _scale(read: Reader, d: Expression) -> Expression:
    assert isinstance(read.part, LayerNorm | RMSNorm)
    weight = read.weight("weight", d)
    if not read.part.offset:
        return weight
    return read.constant("offset", read.part.offset, "offset of this norm in the architecture") + weight
