"""Rules for a mixture of experts: which experts a token is routed to, and what they give."""

from openbook.explanation.expression import Expression, index_of_rank, running
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
    """The softmax of the router's scores: how well expert e suits token t, compared with the others."""
    return softmax(read, read.path_of("router_scores"), b, t, e)


@rule(MixtureOfExperts, "chosen")
def chosen(read: Reader, b: Expression, t: Expression, c: Expression) -> Expression:
    """The number of the expert that is choice c of token t; choice 0 is the most probable one."""
    path = read.path_of("router_probabilities")
    return index_of_rank("e", read.recorded(path, b, t, running("e", read.shape(path)[-1])), c)


@rule(MixtureOfExperts, "gate_weight")
def gate_weight(read: Reader, b: Expression, t: Expression, c: Expression) -> Expression:
    """The share of choice c in the output."""
    assert isinstance(read.part, MixtureOfExperts)
    path, chosen = read.path_of("router_probabilities"), read.path_of("chosen")
    one = read.recorded(path, b, t, read.recorded(chosen, b, t, c))
    if not read.part.experts.normalize_weights:
        return one
    every = read.recorded(chosen, b, t, running("j", read.part.experts.experts_per_token))
    return one / read.sum("j", read.recorded(path, b, t, every))


@rule(MixtureOfExperts, "up")
def up(read: Reader, b: Expression, t: Expression, c: Expression, f: Expression) -> Expression:
    """How strongly token t excites neuron f of choice c."""
    return _expert_linear(read, "up", b, t, c, f)


@rule(MixtureOfExperts, "gate")
def gate(read: Reader, b: Expression, t: Expression, c: Expression, f: Expression) -> Expression:
    """The input of the gate of neuron f of choice c."""
    return _expert_linear(read, "gate", b, t, c, f)


@rule(MixtureOfExperts, "activation")
def activation(read: Reader, b: Expression, t: Expression, c: Expression, f: Expression) -> Expression:
    """How far the gate of neuron f of choice c opens."""
    return activated(read, read.path_of("gate"), b, t, c, f)


@rule(MixtureOfExperts, "hidden")
def hidden(read: Reader, b: Expression, t: Expression, c: Expression, f: Expression) -> Expression:
    """The output of neuron f of choice c."""
    if not read.has("gate"):
        return activated(read, read.path_of("up"), b, t, c, f)
    return read.noted("activation", b, t, c, f) * limited_up(read, b, t, c, f)


@rule(MixtureOfExperts, "expert_output")
def expert_output(read: Reader, b: Expression, t: Expression, c: Expression, d: Expression) -> Expression:
    """The output of choice c for token t, before it is multiplied by its gate_weight."""
    f = running("f", read.shape(read.path_of("hidden"))[-1])
    expert = read.noted("chosen", b, t, c)
    total = read.sum("f", read.noted("hidden", b, t, c, f) * read.weight("down.weight", expert, d, f))
    return _biased(read, "down", total, expert, d)


@rule(MixtureOfExperts, "output")
def output(read: Reader, b: Expression, t: Expression, d: Expression) -> Expression:
    """What the chosen experts add to token t: the sum of their outputs, each times its gate_weight."""
    assert isinstance(read.part, MixtureOfExperts)
    c = running("c", read.part.experts.experts_per_token)
    return read.sum("c", read.noted("gate_weight", b, t, c) * read.noted("expert_output", b, t, c, d))


def _expert_linear(
    read: Reader, layer: str, b: Expression, t: Expression, c: Expression, row: Expression
) -> Expression:
    path = read.input_of()
    d = running("d", read.shape(path)[-1])
    expert = read.noted("chosen", b, t, c)
    total = read.sum("d", read.recorded(path, b, t, d, name="x") * read.weight(f"{layer}.weight", expert, row, d))
    return _biased(read, layer, total, expert, row)


def _biased(read: Reader, layer: str, total: Expression, expert: Expression, row: Expression) -> Expression:
    module = read.part.get_submodule(layer)
    assert isinstance(module, ExpertLinear)
    return total if module.bias is None else total + read.weight(f"{layer}.bias", expert, row)
