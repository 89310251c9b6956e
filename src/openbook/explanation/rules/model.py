"""What goes into a model, and what follows from its logits."""

from torch import nn

from openbook.explanation.expression import Expression, argmax_over, literal, running
from openbook.explanation.reader import Reader
from openbook.explanation.rules.sums import softmax
from openbook.explanation.rules.table import given_rule, rule
from openbook.transformer.transformer import Transformer

given_rule(Transformer, "tokens", "bt", "the prompt", "The id of token t in the vocabulary.")
given_rule(
    Transformer,
    "positions",
    "bt",
    "its index in the prompt",
    "The position of token t, counted from 0; padding is at −1.",
)
given_rule(
    Transformer,
    "documents",
    "bt",
    "the batch, which holds several documents in a row",
    "The document that token t belongs to.",
)
given_rule(
    Transformer,
    "key_positions",
    "bs",
    "the cache, which remembers the positions of its tokens",
    "The position of each token whose key is in the cache.",
)
given_rule(Transformer, "source", "bs", "the source", "The id of token s of the source in its vocabulary.")
given_rule(
    Transformer,
    "source_positions",
    "bs",
    "its index in the source",
    "The position of token s of the source, counted from 0; padding is at −1.",
)


@rule(Transformer, "last")
def last(read: Reader, b: Expression, _: Expression, d: Expression) -> Expression:
    """The vector of the last token, the only one whose logits were asked for."""
    path = read.output_of("decoder.final_norm")
    return read.recorded(path, b, literal(read.shape(path)[1] - 1), d, name="x")


@rule(nn.Module, "probabilities")
def probabilities(read: Reader, b: Expression, v: Expression) -> Expression:
    """How probable token v is as the next one: the softmax of the last token's logits."""
    path = read.last_noted("logits")
    return softmax(read, path, b, literal(read.shape(path)[1] - 1), v)


@rule(nn.Module, "choice")
def choice(read: Reader, b: Expression) -> Expression:
    """The most probable token."""
    path = read.path_of("probabilities")
    return argmax_over("v", read.recorded(path, b, running("v", read.shape(path)[-1])))
