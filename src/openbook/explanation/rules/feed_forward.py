"""Rules for the feed-forward part."""

from openbook.explanation.expression import (
    PI,
    Expression,
    erf,
    exp,
    literal,
    maximum,
    minimum,
    shorthand,
    sqrt,
    square,
    tanh,
)
from openbook.explanation.reader import Reader
from openbook.explanation.rules.sums import linear
from openbook.explanation.rules.table import rule
from openbook.transformer.experts import MixtureOfExperts
from openbook.transformer.feed_forward import FeedForward, GatedFeedForward

SQRT_2 = shorthand("√2", sqrt(literal(2)))
SQRT_2_PI = shorthand("√(2/π)", sqrt(2 / PI))


def relu(x: Expression) -> Expression:
    """max(0, x)."""
    return maximum(0, x)


def relu_squared(x: Expression) -> Expression:
    """max(0, x)²   (So et al. 2021)."""
    return square(maximum(0, x))


def gelu(x: Expression) -> Expression:
    """x · Φ(x), with Φ the cumulative normal distribution   (Hendrycks & Gimpel 2016, section 2)."""
    return x / 2 * (1 + erf(x / SQRT_2))


def gelu_tanh(x: Expression) -> Expression:
    """`gelu` with Φ approximated by tanh   (Hendrycks & Gimpel 2016, section 2)."""
    return x / 2 * (1 + tanh(SQRT_2_PI * (x + 0.044715 * x**3)))


def gelu_sigmoid(x: Expression) -> Expression:
    """`gelu` with Φ approximated by a sigmoid   (Hendrycks & Gimpel 2016, section 2)."""
    return x / (1 + exp(-1.702 * x))


def silu(x: Expression) -> Expression:
    """x · sigmoid(x)   (Hendrycks & Gimpel 2016; Ramachandran et al. 2017)."""
    return x / (1 + exp(-x))


FORMULAS = {
    "relu": relu,
    "relu_squared": relu_squared,
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
    "gelu_sigmoid": gelu_sigmoid,
    "silu": silu,
}


def activated(read: Reader, path: str, *index: Expression) -> Expression:
    """The part's activation function of a recorded number, which a gate with a limit clamps first."""
    part = read.part
    assert isinstance(part, FeedForward | MixtureOfExperts)
    name = part.spec.activation
    x = read.recorded(path, *index)
    limit = part.spec.limit
    if limit is not None:
        x = minimum(read.setting("limit", limit, "feed_forward.limit"), x)
    return FORMULAS[name](x)


def limited_up(read: Reader, *index: Expression) -> Expression:
    """What the gate is multiplied by: the recorded `up`, clamped to the limit, plus its offset."""
    part = read.part
    assert isinstance(part, GatedFeedForward | MixtureOfExperts)
    up = read.noted("up", *index)
    if part.spec.limit is not None:
        limit = read.setting("limit", part.spec.limit, "feed_forward.limit")
        up = maximum(-part.spec.limit, minimum(limit, up))
    if not part.spec.up_offset:
        return up
    return up + read.setting("offset", part.spec.up_offset, "feed_forward.up_offset")


@rule(FeedForward, "up")
def up(read: Reader, b: Expression, t: Expression, f: Expression) -> Expression:
    """How strongly token t excites neuron f."""
    return linear(read, "up", b, t, f)


@rule(GatedFeedForward, "gate")
def gate(read: Reader, b: Expression, t: Expression, f: Expression) -> Expression:
    """The input of the gate of neuron f."""
    return linear(read, "gate", b, t, f)


@rule(GatedFeedForward, "activation")
def activation(read: Reader, b: Expression, t: Expression, f: Expression) -> Expression:
    """How far the gate of neuron f opens."""
    return activated(read, read.path_of("gate"), b, t, f)


@rule(FeedForward, "hidden")
def hidden(read: Reader, b: Expression, t: Expression, f: Expression) -> Expression:
    """The output of neuron f."""
    return activated(read, read.path_of("up"), b, t, f)


@rule(GatedFeedForward, "hidden")
def gated_hidden(read: Reader, b: Expression, t: Expression, f: Expression) -> Expression:
    """The output of neuron f: its input times its gate."""
    return read.noted("activation", b, t, f) * limited_up(read, b, t, f)


@rule(FeedForward, "output")
def output(read: Reader, b: Expression, t: Expression, d: Expression) -> Expression:
    """What the neurons add to token t: a mix of their outputs."""
    return linear(read, "down", b, t, d, letter="f")
