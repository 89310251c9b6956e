"""How the numbers of a mixture of experts follow: which experts a token passes through, and what they bring."""

from openbook.explanation.expression import Expression
from openbook.explanation.reader import Reader
from openbook.explanation.rules.feed_forward import activated, limited_up
from openbook.explanation.rules.sums import linear, softmax
from openbook.explanation.rules.table import rule
from openbook.transformer.experts import ExpertLinear, MixtureOfExperts


@rule(MixtureOfExperts, "router_scores")
def router_scores(read: Reader, b: Expression, t: Expression, e: Expression) -> Expression:
    """How well expert e suits token t."""
    return linear(read, "router", b, t, e)


@rule(MixtureOfExperts, "router_probabilities")
def router_probabilities(read: Reader, b: Expression, t: Expression, e: Expression) -> Expression:
    """How well expert e suits token t, next to the other experts: a row sums to 1."""
    path = read.own("router_scores")
    return softmax(read, read.recorded(path, b, t, e), read.recorded(path, b, t, read.each("j", read.shape(path)[-1])))


@rule(MixtureOfExperts, "chosen")
def chosen(read: Reader, b: Expression, t: Expression, c: Expression) -> Expression:
    """The number of the expert that is choice c of token t; choice 0 is the most probable."""
    path = read.own("router_probabilities")
    return read.ranked("e", read.recorded(path, b, t, read.each("e", read.shape(path)[-1])), c)


@rule(MixtureOfExperts, "gate_weight")
def gate_weight(read: Reader, b: Expression, t: Expression, c: Expression) -> Expression:
    """How much of what choice c brings is taken."""
    assert isinstance(read.part, MixtureOfExperts)
    path, picked = read.own("router_probabilities"), read.own("chosen")
    one = read.recorded(path, b, t, read.recorded(picked, b, t, c))
    if not read.part.experts.normalize_weights:
        return one
    every = read.recorded(picked, b, t, read.each("j", read.part.experts.experts_per_token))
    return one / read.total("j", read.recorded(path, b, t, every))


@rule(MixtureOfExperts, "up")
def up(read: Reader, b: Expression, t: Expression, c: Expression, f: Expression) -> Expression:
    """How strongly token t stirs neuron f of its choice c."""
    return _expert_linear(read, "up", b, t, c, f)


@rule(MixtureOfExperts, "gate")
def gate(read: Reader, b: Expression, t: Expression, c: Expression, f: Expression) -> Expression:
    """What decides how far neuron f of choice c opens for token t."""
    return _expert_linear(read, "gate", b, t, c, f)


@rule(MixtureOfExperts, "activation")
def activation(read: Reader, b: Expression, t: Expression, c: Expression, f: Expression) -> Expression:
    """How far neuron f of choice c opens."""
    return activated(read, read.own("gate"), b, t, c, f)


@rule(MixtureOfExperts, "hidden")
def hidden(read: Reader, b: Expression, t: Expression, c: Expression, f: Expression) -> Expression:
    """What neuron f of choice c gives."""
    if not read.noted_too("gate"):
        return activated(read, read.own("up"), b, t, c, f)
    return read.recorded(read.own("activation"), b, t, c, f) * limited_up(read, b, t, c, f)


@rule(MixtureOfExperts, "expert_output")
def expert_output(read: Reader, b: Expression, t: Expression, c: Expression, d: Expression) -> Expression:
    """What choice c brings to token t, before its gate_weight is taken."""
    f = read.each("f", read.shape(read.own("hidden"))[-1])
    expert = read.recorded(read.own("chosen"), b, t, c)
    total = read.total("f", read.recorded(read.own("hidden"), b, t, c, f) * read.weight("down.weight", expert, d, f))
    return _biased(read, "down", total, expert, d)


@rule(MixtureOfExperts, "output")
def output(read: Reader, b: Expression, t: Expression, d: Expression) -> Expression:
    """What the chosen experts together add to token t, each by its gate_weight."""
    assert isinstance(read.part, MixtureOfExperts)
    c = read.each("c", read.part.experts.experts_per_token)
    return read.total(
        "c", read.recorded(read.own("gate_weight"), b, t, c) * read.recorded(read.own("expert_output"), b, t, c, d)
    )


def _expert_linear(
    read: Reader, layer: str, b: Expression, t: Expression, c: Expression, row: Expression
) -> Expression:
    path = read.into()
    d = read.each("d", read.shape(path)[-1])
    expert = read.recorded(read.own("chosen"), b, t, c)
    total = read.total("d", read.recorded(path, b, t, d, name="x") * read.weight(f"{layer}.weight", expert, row, d))
    return _biased(read, layer, total, expert, row)


def _biased(read: Reader, layer: str, total: Expression, expert: Expression, row: Expression) -> Expression:
    module = read.part.get_submodule(layer)
    assert isinstance(module, ExpertLinear)
    return total if module.bias is None else total + read.weight(f"{layer}.bias", expert, row)
