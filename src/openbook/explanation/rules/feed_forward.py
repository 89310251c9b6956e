"""How the numbers of the feed-forward part follow."""

import math

from openbook.explanation.expression import Expression, at_least, at_most, constant, erf, exp, square, tanh
from openbook.explanation.reader import Reader
from openbook.explanation.rules.sums import linear
from openbook.explanation.rules.table import rule
from openbook.transformer.activation import ACTIVATIONS
from openbook.transformer.experts import MixtureOfExperts
from openbook.transformer.feed_forward import FeedForward, GatedFeedForward


def relu(x: Expression) -> Expression:
    """max(0, x)."""
    return at_least(0, x)


def relu_squared(x: Expression) -> Expression:
    """max(0, x)²   (So et al. 2021)."""
    return square(at_least(0, x))


def gelu(x: Expression) -> Expression:
    """x times the share of a normal distribution below x   (Hendrycks & Gimpel 2016, section 2)."""
    return x / 2 * (1 + erf(x / constant(math.sqrt(2), "√2")))


def gelu_tanh(x: Expression) -> Expression:
    """The same with tanh for the normal distribution   (Hendrycks & Gimpel 2016, section 2)."""
    return x / 2 * (1 + tanh(constant(math.sqrt(2 / math.pi), "√(2/π)") * (x + 0.044715 * x**3)))


def gelu_sigmoid(x: Expression) -> Expression:
    """The same with a sigmoid for the normal distribution   (Hendrycks & Gimpel 2016, section 2)."""
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
    """The part's activation of a recorded number, which is kept below the limit where it is a gate's."""
    part = read.part
    assert isinstance(part, FeedForward | MixtureOfExperts)
    name = next(name for name, activation in ACTIVATIONS.items() if activation is part.activation)
    x = read.recorded(path, *index)
    limit = getattr(part, "limit", None)
    if limit is not None:
        x = at_most(read.constant("limit", limit, "feed_forward.limit of the architecture"), x)
    return FORMULAS[name](x)


def limited_up(read: Reader, *index: Expression) -> Expression:
    """What is multiplied by the opened gate: the recorded `up`, within the limit, moved by its offset."""
    part = read.part
    assert isinstance(part, GatedFeedForward | MixtureOfExperts)
    up = read.recorded(read.own("up"), *index)
    if part.limit is not None:
        limit = read.constant("limit", part.limit, "feed_forward.limit of the architecture")
        up = at_least(-part.limit, at_most(limit, up))
    if not part.up_offset:
        return up
    return up + read.constant("offset", part.up_offset, "feed_forward.up_offset of the architecture")


@rule(FeedForward, "up")
def up(read: Reader, b: Expression, t: Expression, f: Expression) -> Expression:
    """How strongly token t stirs neuron f."""
    return linear(read, "up", b, t, f)


@rule(GatedFeedForward, "gate")
def gate(read: Reader, b: Expression, t: Expression, f: Expression) -> Expression:
    """What decides how far neuron f opens for token t."""
    return linear(read, "gate", b, t, f)


@rule(GatedFeedForward, "activation")
def activation(read: Reader, b: Expression, t: Expression, f: Expression) -> Expression:
    """How far neuron f opens."""
    return activated(read, read.own("gate"), b, t, f)


@rule(FeedForward, "hidden")
def hidden(read: Reader, b: Expression, t: Expression, f: Expression) -> Expression:
    """What neuron f gives."""
    return activated(read, read.own("up"), b, t, f)


@rule(GatedFeedForward, "hidden")
def gated_hidden(read: Reader, b: Expression, t: Expression, f: Expression) -> Expression:
    """What neuron f gives: as much as it is open."""
    return read.recorded(read.own("activation"), b, t, f) * limited_up(read, b, t, f)


@rule(FeedForward, "output")
def output(read: Reader, b: Expression, t: Expression, d: Expression) -> Expression:
    """What the neurons together add to token t."""
    return linear(read, "down", b, t, d, letter="f")
