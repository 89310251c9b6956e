"""How the residual stream follows: each sublayer adds to it."""

from openbook.explanation.expression import Expression
from openbook.explanation.reader import Reader
from openbook.explanation.rules.table import rule
from openbook.transformer.block import Residual, Stack


@rule(Stack, "embedded")
def embedded(read: Reader, b: Expression, t: Expression, d: Expression) -> Expression:
    """Token t as it enters the blocks: its embedding, with its position if that is added."""
    token = read.recorded(read.into(), b, t, d, name="token_embedding")
    if not read.noted_too("position_embedding"):
        return token
    return token + read.recorded(read.own("position_embedding"), b, t, d)


@rule(Residual, "residual")
def residual(read: Reader, b: Expression, t: Expression, d: Expression) -> Expression:
    """Token t after the sublayer: what came in, and what the sublayer adds."""
    x = read.recorded(read.into(), b, t, d, name="x")
    return x + read.recorded(read.into("dropout"), b, t, d, name="added")
