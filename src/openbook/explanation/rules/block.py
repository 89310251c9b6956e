"""Rules for the residual stream, which each sublayer adds to."""

from openbook.explanation.expression import Expression
from openbook.explanation.reader import Reader
from openbook.explanation.rules.table import rule
from openbook.transformer.block import Residual, Stack


@rule(Stack, "embedded")
def embedded(read: Reader, b: Expression, t: Expression, d: Expression) -> Expression:
    """Token t as it enters the blocks: its embedding, plus that of its position if the model adds one."""
    token = read.recorded(read.input_of(), b, t, d, name="token_embedding")
    if not read.has("position_embedding"):
        return token
    return token + read.noted("position_embedding", b, t, d)


@rule(Residual, "residual")
def residual(read: Reader, b: Expression, t: Expression, d: Expression) -> Expression:
    """Token t after the sublayer: its vector before, plus what the sublayer adds."""
    x = read.recorded(read.input_of(), b, t, d, name="x")
    return x + read.recorded(read.input_of("dropout"), b, t, d, name="added")
