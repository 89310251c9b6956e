"""Rules for attention: queries, keys, values, scores, mask, weights, context."""

import torch

from openbook.explanation.expression import Expression, absolute, equal, piecewise, running, tanh, where
from openbook.explanation.reader import SINGLETON, Reader
from openbook.explanation.rules.sums import linear, softmax
from openbook.explanation.rules.table import rule
from openbook.explanation.rules.token_positions import is_cross_attention, positions, stack_around
from openbook.transformer import architecture
from openbook.transformer.attention import Attention
from openbook.transformer.mask import SHARED_PREFIX


def _spec(read: Reader) -> architecture.Attention:
    assert isinstance(read.part, Attention)
    return read.part.spec


def _head_row(read: Reader, h: Expression, k: Expression) -> Expression:
    """Head h has rows h·K to h·K + K − 1 of a weight."""
    return h * _spec(read).head_width + k


@rule(Attention, "query")
def query(read: Reader, b: Expression, t: Expression, h: Expression, k: Expression) -> Expression:
    """What token t looks for, in head h."""
    return linear(read, "query", b, t, _head_row(read, h, k))


@rule(Attention, "key")
def key(read: Reader, b: Expression, s: Expression, h: Expression, k: Expression) -> Expression:
    """What token s offers for queries to match, in head h."""
    return linear(read, "key", b, s, _head_row(read, h, k))


@rule(Attention, "value")
def value(read: Reader, b: Expression, s: Expression, h: Expression, k: Expression) -> Expression:
    """What token s passes on to the tokens that attend to it, in head h."""
    return linear(read, "value", b, s, _head_row(read, h, k))


@rule(Attention, "rotated_query")
def rotated_query(read: Reader, b: Expression, t: Expression, h: Expression, k: Expression) -> Expression:
    """The query, with each pair of numbers rotated by the token's position."""
    return _rotated(read, "query", b, t, h, k)


@rule(Attention, "rotated_key")
def rotated_key(read: Reader, b: Expression, s: Expression, h: Expression, k: Expression) -> Expression:
    """The key, with each pair of numbers rotated by the token's position."""
    return _rotated(read, "key", b, s, h, k)


def _rotated(read: Reader, name: str, b: Expression, t: Expression, h: Expression, k: Expression) -> Expression:
    x, cosine, sine = read.output_of(f"{name}_norm"), read.argument("cosine"), read.argument("sine")
    if cosine is None or sine is None or is_cross_attention(read):
        read.meaning = f"The {name} that is compared: here positions rotate nothing."
        return read.recorded(x, b, t, h, k, name=name)
    half = _spec(read).head_width // 2

    def first_of_pair(b: Expression, t: Expression, h: Expression, k: Expression) -> Expression:
        kept = read.recorded(x, b, t, h, k, name=name) * read.recorded(cosine, b, t, SINGLETON, k)
        return kept - read.recorded(x, b, t, h, k + half, name=name) * read.recorded(sine, b, t, SINGLETON, k)

    def second_of_pair(b: Expression, t: Expression, h: Expression, k: Expression) -> Expression:
        kept = read.recorded(x, b, t, h, k, name=name) * read.recorded(cosine, b, t, SINGLETON, k - half)
        return kept + read.recorded(x, b, t, h, k - half, name=name) * read.recorded(sine, b, t, SINGLETON, k - half)

    return piecewise(k < half, first_of_pair, second_of_pair, (b, t, h, k))


@rule(Attention, "keys")
def keys(read: Reader, b: Expression, h: Expression, s: Expression, k: Expression) -> Expression:
    """The key of token s for head h; the heads of a group share it."""
    return _shared(read, read.path_of("rotated_key"), b, h, s, k)


@rule(Attention, "values")
def values(read: Reader, b: Expression, h: Expression, s: Expression, k: Expression) -> Expression:
    """The value of token s for head h; the heads of a group share it."""
    return _shared(read, read.path_of("value"), b, h, s, k)


def _shared(read: Reader, source: str, b: Expression, h: Expression, s: Expression, k: Expression) -> Expression:
    group = _spec(read).heads // _spec(read).key_value_heads
    own = read.path_of(read.name)
    cached = read.shape(own)[2] - (read.shape(source)[1] if source in read.trace else 0)
    if group == 1:
        read.meaning = f"The {read.name.removesuffix('s')} of token s for head h."

    def new(b: Expression, h: Expression, s: Expression, k: Expression) -> Expression:
        return read.recorded(source, b, s - cached if cached else s, h // group if group > 1 else h, k)

    def old(b: Expression, h: Expression, s: Expression, k: Expression) -> Expression:
        first_of_group = (h // group) * group if group > 1 else h
        return read.given(own, "the cache, which kept it from an earlier step", b, first_of_group, s, k)

    return piecewise(s >= cached, new, old, (b, h, s, k))


@rule(Attention, "scores")
def scores(read: Reader, b: Expression, h: Expression, t: Expression, s: Expression) -> Expression:
    """How well the query of token t matches the key of token s."""
    k = running("k", _spec(read).head_width)
    query = read.noted("rotated_query", b, t, h, k, name="query")
    key = read.noted("keys", b, h, s, k, name="key")
    return _scale(read) * read.sum("k", query * key)


def _scale(read: Reader) -> Expression:
    assert isinstance(read.part, Attention)
    source = "attention.scale of the architecture"
    if _spec(read).scale is None:
        source = f"1/√K with head width K = {_spec(read).head_width}, since the architecture sets no attention.scale"
    return read.setting("scale", _spec(read).score_scale, source)


@rule(Attention, "biased_scores")
def biased_scores(read: Reader, b: Expression, h: Expression, t: Expression, s: Expression) -> Expression:
    """The score plus the bias for the distance between the two tokens."""
    bias = read.argument("bias")
    assert bias is not None
    return read.noted("scores", b, h, t, s) + read.recorded(bias, b, h, t, s)


@rule(Attention, "capped_scores")
def capped_scores(read: Reader, b: Expression, h: Expression, t: Expression, s: Expression) -> Expression:
    """The score, squashed into the range from −cap to cap."""
    cap = read.constant("cap", _spec(read).attention_softcap or 0.0, "attention.attention_softcap")
    return cap * tanh(read.recorded(read.first_of("biased_scores", "scores"), b, h, t, s) / cap)


@rule(Attention, "mask")
def mask(read: Reader, b: Expression, _: Expression, t: Expression, s: Expression) -> Expression:
    """1 where token t may attend to token s, else 0: to no padding."""
    query_positions, key_positions = positions(read)
    query = read.recorded(query_positions, b, t, name="query_position")
    key = read.recorded(key_positions, b, s, name="key_position")
    allowed = (key >= 0) | equal(key, query)
    causal = stack_around(read).causal and not is_cross_attention(read)
    read.meaning = "1 where token t may attend to token s, else 0: " + _what_is_hidden(read, causal)
    if causal:
        allowed = (key <= query) & allowed
    window = _spec(read).window
    if window is not None:
        distance = query - key if causal else absolute(query - key)
        allowed = allowed & (distance < read.setting("window", window, "attention.window"))
    documents = read.argument("documents")
    if documents is not None:
        of_query = read.recorded(documents, b, t, name="document")
        of_key = read.recorded(documents, b, s, name="document")
        allowed = allowed & (equal(of_query, of_key) | equal(of_key, SHARED_PREFIX))
    return allowed


def _what_is_hidden(read: Reader, causal: bool) -> str:
    window, documents = _spec(read).window, read.argument("documents")
    hidden = ["to no later token"] * causal + ["to no padding"] * (not causal)
    hidden += ["to none outside the window"] * (window is not None)
    hidden += ["to none of another document"] * (documents is not None)
    return ", ".join(hidden) + "."


@rule(Attention, "masked_scores")
def masked_scores(read: Reader, b: Expression, h: Expression, t: Expression, s: Expression) -> Expression:
    """The score where token t may attend, else a score whose weight is 0."""
    score = read.recorded(read.first_of("capped_scores", "biased_scores", "scores"), b, h, t, s)
    allowed = read.noted("mask", b, SINGLETON, t, s)
    return where(allowed, score, 0.0 if _spec(read).attention_function == "none" else -torch.inf)


@rule(Attention, "weights")
def weights(read: Reader, b: Expression, h: Expression, t: Expression, s: Expression) -> Expression:
    """The share of token s in what token t takes in; a row sums to 1."""
    path = read.first_of("masked_scores", "capped_scores", "biased_scores", "scores")
    if _spec(read).attention_function == "none":
        read.meaning = "How much token t takes in of token s: the score itself, for there is no softmax."
        return read.recorded(path, b, h, t, s)
    if _spec(read).sinks:
        read.meaning = "The share of token s in what token t takes in; with that of the sink, a row sums to 1."
    return softmax(read, path, b, h, t, s, sink=read.weight("sinks", h) if _spec(read).sinks else None)


@rule(Attention, "head_context")
def head_context(read: Reader, b: Expression, h: Expression, t: Expression, k: Expression) -> Expression:
    """What head h gives to token t: the sum of all values, each times its weight."""
    s = running("s", read.shape(read.path_of("values"))[2])
    weight = read.noted("weights", b, h, t, s)
    return read.sum("s", weight * read.noted("values", b, h, s, k))


@rule(Attention, "context")
def context(read: Reader, b: Expression, t: Expression, d: Expression) -> Expression:
    """The contexts of all heads, one after another."""
    width = _spec(read).head_width
    return read.noted("head_context", b, d // width, t, d % width)


@rule(Attention, "output")
def output(read: Reader, b: Expression, t: Expression, d: Expression) -> Expression:
    """What attention adds to token t: a mix of the contexts of all heads."""
    return linear(read, "output", b, t, d, letter="i")
