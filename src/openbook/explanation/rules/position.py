"""How the numbers of positions follow: angles, their cosines and sines, and what is added to embeddings."""

from openbook.explanation.expression import Expression, at_least, by_case, cosine, equal, sine
from openbook.explanation.reader import ONLY, Reader
from openbook.explanation.rules.table import rule
from openbook.transformer.position import Learned, Rotary, Sinusoidal


@rule(Rotary, "angle")
def rotary_angle(read: Reader, b: Expression, t: Expression, _: Expression, i: Expression) -> Expression:
    """How far pair i is turned at the position of token t: early pairs turn fast, late ones slowly."""
    assert isinstance(read.part, Rotary)
    base = read.constant("base", read.part.base, "position.base of the architecture")
    return read.recorded(read.into(), b, t, name="position") * base ** (-2.0 * i / read.part.head_width)


@rule(Rotary, "cosine")
def rotary_cosine(read: Reader, b: Expression, t: Expression, _: Expression, i: Expression) -> Expression:
    """The cosine of the angle by which pair i is turned."""
    return cosine(read.recorded(read.own("angle"), b, t, ONLY, i))


@rule(Rotary, "sine")
def rotary_sine(read: Reader, b: Expression, t: Expression, _: Expression, i: Expression) -> Expression:
    """The sine of the angle by which pair i is turned."""
    return sine(read.recorded(read.own("angle"), b, t, ONLY, i))


@rule(Sinusoidal, "angle")
def sinusoidal_angle(read: Reader, b: Expression, t: Expression, i: Expression) -> Expression:
    """Where wave i stands at the position of token t: early waves are fast, late ones slow."""
    assert isinstance(read.part, Sinusoidal)
    base = read.constant("base", read.part.base, "position.base of the architecture")
    width = 2 * read.shape(read.own("angle"))[-1]
    return _position(read, b, t) * base ** (-2.0 * i / width)


@rule(Sinusoidal, "position_embedding")
def sinusoidal_embedding(read: Reader, b: Expression, t: Expression, d: Expression) -> Expression:
    """The position as waves: sines at even dimensions, cosines at odd ones."""
    angle = read.own("angle")
    return by_case(
        equal(d % 2, 0),
        lambda b, t, d: sine(read.recorded(angle, b, t, d // 2)),
        lambda b, t, d: cosine(read.recorded(angle, b, t, d // 2)),
        (b, t, d),
    )


@rule(Learned, "position_embedding")
def learned_embedding(read: Reader, b: Expression, t: Expression, d: Expression) -> Expression:
    """The trained vector of this position."""
    return read.weight("weight", _position(read, b, t), d)


def _position(read: Reader, b: Expression, t: Expression) -> Expression:
    """The token's position; padding stands at −1 and is treated as 0."""
    return at_least(0, read.recorded(read.into(), b, t, name="position"))
