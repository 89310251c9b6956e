"""How the numbers of attention follow: queries, keys, values, scores, mask, weights, context."""

import torch

from openbook.explanation.expression import Expression, by_case, choose, equal, magnitude, tanh
from openbook.explanation.reader import ONLY, Reader
from openbook.explanation.rules.sums import linear, softmax
from openbook.explanation.rules.table import rule
from openbook.explanation.rules.token_positions import crosses, positions, stack_around
from openbook.transformer import architecture
from openbook.transformer.attention import Attention
from openbook.transformer.mask import SHARED


def _spec(read: Reader) -> architecture.Attention:
    assert isinstance(read.part, Attention)
    return read.part.spec


def _head_row(read: Reader, h: Expression, k: Expression) -> Expression:
    """Head h has rows h·K to h·K + K − 1 of a weight."""
    return h * _spec(read).head_width + k


@rule(Attention, "query")
def query(read: Reader, b: Expression, t: Expression, h: Expression, k: Expression) -> Expression:
    """What token t looks for, as head h asks it."""
    return linear(read, "query", b, t, _head_row(read, h, k))


@rule(Attention, "key")
def key(read: Reader, b: Expression, s: Expression, h: Expression, k: Expression) -> Expression:
    """What token s offers to be found by."""
    return linear(read, "key", b, s, _head_row(read, h, k))


@rule(Attention, "value")
def value(read: Reader, b: Expression, s: Expression, h: Expression, k: Expression) -> Expression:
    """What token s hands on to those that look at it."""
    return linear(read, "value", b, s, _head_row(read, h, k))


@rule(Attention, "rotated_query")
def rotated_query(read: Reader, b: Expression, t: Expression, h: Expression, k: Expression) -> Expression:
    """The query, with each pair of numbers turned by the token's position where positions are rotary."""
    return _rotated(read, "query", b, t, h, k)


@rule(Attention, "rotated_key")
def rotated_key(read: Reader, b: Expression, s: Expression, h: Expression, k: Expression) -> Expression:
    """The key, with each pair of numbers turned by the token's position where positions are rotary."""
    return _rotated(read, "key", b, s, h, k)


def _rotated(read: Reader, name: str, b: Expression, t: Expression, h: Expression, k: Expression) -> Expression:
    x, cosine, sine = read.out_of(f"{name}_norm"), read.argument("cosine"), read.argument("sine")
    if cosine is None or sine is None or crosses(read):
        return read.recorded(x, b, t, h, k, name=name)
    half = _spec(read).head_width // 2

    def first_of_pair(b: Expression, t: Expression, h: Expression, k: Expression) -> Expression:
        kept = read.recorded(x, b, t, h, k, name=name) * read.recorded(cosine, b, t, ONLY, k)
        return kept - read.recorded(x, b, t, h, k + half, name=name) * read.recorded(sine, b, t, ONLY, k)

    def second_of_pair(b: Expression, t: Expression, h: Expression, k: Expression) -> Expression:
        kept = read.recorded(x, b, t, h, k, name=name) * read.recorded(cosine, b, t, ONLY, k - half)
        return kept + read.recorded(x, b, t, h, k - half, name=name) * read.recorded(sine, b, t, ONLY, k - half)

    return by_case(k < half, first_of_pair, second_of_pair, (b, t, h, k))


@rule(Attention, "keys")
def keys(read: Reader, b: Expression, h: Expression, s: Expression, k: Expression) -> Expression:
    """The key of token s as head h sees it; heads of one group share it."""
    return _shared(read, read.own("rotated_key"), b, h, s, k)


@rule(Attention, "values")
def values(read: Reader, b: Expression, h: Expression, s: Expression, k: Expression) -> Expression:
    """The value of token s as head h sees it; heads of one group share it."""
    return _shared(read, read.own("value"), b, h, s, k)


def _shared(read: Reader, source: str, b: Expression, h: Expression, s: Expression, k: Expression) -> Expression:
    each = _spec(read).heads // _spec(read).key_value_heads
    own = read.own(read.name)
    kept = read.shape(own)[2] - (read.shape(source)[1] if source in read.trace else 0)

    def new(b: Expression, h: Expression, s: Expression, k: Expression) -> Expression:
        return read.recorded(source, b, s - kept if kept else s, h // each if each > 1 else h, k)

    def old(b: Expression, h: Expression, s: Expression, k: Expression) -> Expression:
        first_of_group = (h // each) * each if each > 1 else h
        return read.given(own, "the cache, which kept it from an earlier step", b, first_of_group, s, k)

    return by_case(s >= kept, new, old, (b, h, s, k))


@rule(Attention, "scores")
def scores(read: Reader, b: Expression, h: Expression, t: Expression, s: Expression) -> Expression:
    """How well the query of token t matches the key of token s."""
    k = read.each("k", _spec(read).head_width)
    query = read.recorded(read.own("rotated_query"), b, t, h, k, name="query")
    key = read.recorded(read.own("keys"), b, h, s, k, name="key")
    return _scale(read) * read.total("k", query * key)


def _scale(read: Reader) -> Expression:
    assert isinstance(read.part, Attention)
    source = "attention.scale of the architecture"
    if _spec(read).scale is None:
        source = f"1/√K with head width K = {_spec(read).head_width}, for the architecture sets no attention.scale"
    return read.constant("scale", read.part.scale, source)


@rule(Attention, "biased_scores")
def biased_scores(read: Reader, b: Expression, h: Expression, t: Expression, s: Expression) -> Expression:
    """The score, and what is added for the distance between the two tokens."""
    bias = read.argument("bias")
    assert bias is not None
    return read.recorded(read.own("scores"), b, h, t, s) + read.recorded(bias, b, h, t, s)


@rule(Attention, "capped_scores")
def capped_scores(read: Reader, b: Expression, h: Expression, t: Expression, s: Expression) -> Expression:
    """The score, squashed so that it stays between −cap and cap."""
    cap = read.constant("cap", _spec(read).attention_softcap or 0.0, "attention.attention_softcap of the architecture")
    return cap * tanh(read.recorded(_latest(read, "biased_scores", "scores"), b, h, t, s) / cap)


@rule(Attention, "mask")
def mask(read: Reader, b: Expression, _: Expression, t: Expression, s: Expression) -> Expression:
    """1 where token t may look at token s: not padding nor, in a decoder, later; in the window and the document."""
    own, kept = positions(read)
    query = read.recorded(own, b, t, name="query_position")
    key = read.recorded(kept, b, s, name="key_position")
    allowed = (key >= 0) | equal(key, query)
    causal = stack_around(read).causal and not crosses(read)
    if causal:
        allowed = (key <= query) & allowed
    window = _spec(read).window
    if window is not None:
        away = query - key if causal else magnitude(query - key)
        allowed = allowed & (away < read.constant("window", window, "attention.window of the architecture"))
    documents = read.argument("documents")
    if documents is not None:
        of_query, of_key = (
            read.recorded(documents, b, t, name="document"),
            read.recorded(documents, b, s, name="document"),
        )
        allowed = allowed & (equal(of_query, of_key) | equal(of_key, SHARED))
    return allowed


@rule(Attention, "masked_scores")
def masked_scores(read: Reader, b: Expression, h: Expression, t: Expression, s: Expression) -> Expression:
    """The score where token t may look, and what weighs nothing where it may not."""
    score = read.recorded(_latest(read, "capped_scores", "biased_scores", "scores"), b, h, t, s)
    allowed = read.recorded(read.own("mask"), b, ONLY, t, s)
    return choose(allowed, score, 0.0 if _spec(read).attention_function == "none" else -torch.inf)


@rule(Attention, "weights")
def weights(read: Reader, b: Expression, h: Expression, t: Expression, s: Expression) -> Expression:
    """How much of what token t takes in comes from token s; with softmax a row sums to 1."""
    path = _latest(read, "masked_scores", "capped_scores", "biased_scores", "scores")
    score = read.recorded(path, b, h, t, s)
    if _spec(read).attention_function == "none":
        return score
    row = read.recorded(path, b, h, t, read.each("j", read.shape(path)[-1]))
    return softmax(read, score, row, sink=read.weight("sinks", h) if _spec(read).sinks else None)


@rule(Attention, "head_context")
def head_context(read: Reader, b: Expression, h: Expression, t: Expression, k: Expression) -> Expression:
    """What head h brings to token t: the values it looked at, each by its weight."""
    s = read.each("s", read.shape(read.own("values"))[2])
    weight = read.recorded(read.own("weights"), b, h, t, s)
    return read.total("s", weight * read.recorded(read.own("values"), b, h, s, k))


@rule(Attention, "context")
def context(read: Reader, b: Expression, t: Expression, d: Expression) -> Expression:
    """What all heads bring, laid side by side."""
    width = _spec(read).head_width
    return read.recorded(read.own("head_context"), b, d // width, t, d % width)


@rule(Attention, "output")
def output(read: Reader, b: Expression, t: Expression, d: Expression) -> Expression:
    """What attention adds to token t: the heads' context, mixed."""
    return linear(read, "output", b, t, d, letter="i")


def _latest(read: Reader, *names: str) -> str:
    """The first of these notes that was made."""
    return next(read.own(name) for name in names if read.noted_too(name))
