"""What goes into a model and what is made of its logits."""

from torch import nn

from openbook.explanation.expression import Expression
from openbook.explanation.reader import Reader
from openbook.explanation.rules.sums import softmax
from openbook.explanation.rules.table import rule
from openbook.transformer.transformer import Transformer


@rule(Transformer, "tokens")
def tokens(read: Reader, b: Expression, t: Expression) -> Expression:
    """The number of token t in the vocabulary."""
    return read.given("tokens", "the prompt", b, t)


@rule(Transformer, "positions")
def positions(read: Reader, b: Expression, t: Expression) -> Expression:
    """Where token t stands, counted from 0; padding stands at −1."""
    return read.given("positions", "the token's place in the prompt", b, t)


@rule(Transformer, "documents")
def documents(read: Reader, b: Expression, t: Expression) -> Expression:
    """Which document token t belongs to."""
    return read.given("documents", "the batch, which holds several documents in a row", b, t)


@rule(Transformer, "key_positions")
def key_positions(read: Reader, b: Expression, s: Expression) -> Expression:
    """Where the tokens stand whose keys the cache holds."""
    return read.given("key_positions", "the cache, which remembers the places of its tokens", b, s)


@rule(Transformer, "source")
def source(read: Reader, b: Expression, s: Expression) -> Expression:
    """The number of token s of the source in its vocabulary."""
    return read.given("source", "the source", b, s)


@rule(Transformer, "source_positions")
def source_positions(read: Reader, b: Expression, s: Expression) -> Expression:
    """Where token s of the source stands, counted from 0; padding stands at −1."""
    return read.given("source_positions", "the token's place in the source", b, s)


@rule(Transformer, "last")
def last(read: Reader, b: Expression, _: Expression, d: Expression) -> Expression:
    """The vector of the last token, the only one whose logits were asked for."""
    path = read.out_of("decoder.final_norm")
    return read.recorded(path, b, read.at(read.shape(path)[1] - 1), d, name="x")


@rule(nn.Module, "probabilities")
def probabilities(read: Reader, b: Expression, v: Expression) -> Expression:
    """How probable token v is as the next one: the softmax of the last token's logits."""
    path = read.latest("logits")
    _, length, vocabulary = read.shape(path)
    t = read.at(length - 1)
    one = read.recorded(path, b, t, v)
    return softmax(read, one, read.recorded(path, b, t, read.each("j", vocabulary)))


@rule(nn.Module, "choice")
def choice(read: Reader, b: Expression) -> Expression:
    """The most probable token."""
    v = read.each("v", read.shape("probabilities")[-1])
    return read.most("v", read.recorded("probabilities", b, v))
