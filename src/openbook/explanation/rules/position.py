"""How the numbers of positions follow: angles, their cosines and sines, and what is added to embeddings."""

import math

from openbook.explanation.expression import Expression, at_least, at_most, by_case, constant, cosine, equal, sine
from openbook.explanation.reader import ONLY, Reader
from openbook.explanation.rules.table import rule
from openbook.transformer.architecture import Stretch
from openbook.transformer.position import Learned, Rotary, Sinusoidal
from openbook.transformer.stretch import ramp


@rule(Rotary, "frequency")
def frequency(read: Reader, b: Expression, _: Expression, i: Expression) -> Expression:
    """How far pair i turns from one position to the next, slowed down so that a longer context fits."""
    part = read.part
    assert isinstance(part, Rotary) and part.stretch is not None
    stretch, width = part.stretch, part.head_width
    base = read.constant("base", part.base, "position.base of the architecture")
    factor = read.constant("s", stretch.factor, "position.stretch.factor of the architecture")
    if stretch.kind == "dynamic":
        original = read.constant("L", stretch.original, "position.stretch.original of the architecture")
        path = read.into()
        longest = read.largest("t", read.recorded(path, b, read.each("t", read.shape(path)[-1]), name="position"))
        length = at_least(stretch.original, longest + 1)
        grown = base * (factor * length / original - factor + 1) ** (width / (width - 2))
        return grown ** (-2.0 * i / width)
    own = read.define("f", base ** (-2.0 * i / width))
    if stretch.kind == "linear":
        return own / factor
    kept = read.define("b", _kept_share(read, own, stretch, i))
    return own * kept + own / factor * (1 - kept)


def _kept_share(read: Reader, own: Expression, stretch: Stretch, i: Expression) -> Expression:
    """How much of its own speed pair i keeps: all of it, none, or a part in between."""
    one = constant(1, "1")
    if stretch.kind == "banded":
        source = "of position.stretch of the architecture"
        low = read.constant("low", stretch.low, f"low {source}")
        high = read.constant("high", stretch.high, f"high {source}")
        original = read.constant("L", stretch.original, f"original {source}")
        turns = original * own / constant(2 * math.pi, "2π")
        return at_least(0, at_most(one, (turns - low) / (high - low)))
    assert isinstance(read.part, Rotary)
    begin, end = ramp(read.part.head_width, read.part.base, stretch)
    source = "by position.stretch of the architecture: the pair that turns {} times within its original context"
    first = read.constant("first", begin, source.format(f"{stretch.high:g}"))
    last = read.constant("last", end, source.format(f"{stretch.low:g}"))
    return 1 - at_least(0, at_most(one, (i - first) / (last - first)))


@rule(Rotary, "angle")
def rotary_angle(read: Reader, b: Expression, t: Expression, _: Expression, i: Expression) -> Expression:
    """How far pair i is turned at the position of token t: early pairs turn fast, late ones slowly."""
    assert isinstance(read.part, Rotary)
    position = read.recorded(read.into(), b, t, name="position")
    if read.part.stretch is not None:
        return position * read.recorded(read.own("frequency"), b, ONLY, i)
    return position * read.constant("base", read.part.base, "position.base of the architecture") ** (
        -2.0 * i / read.part.head_width
    )


@rule(Rotary, "cosine")
def rotary_cosine(read: Reader, b: Expression, t: Expression, _: Expression, i: Expression) -> Expression:
    """The cosine of the angle by which pair i is turned."""
    return _stretched(read, cosine(read.recorded(read.own("angle"), b, t, ONLY, i)))


@rule(Rotary, "sine")
def rotary_sine(read: Reader, b: Expression, t: Expression, _: Expression, i: Expression) -> Expression:
    """The sine of the angle by which pair i is turned."""
    return _stretched(read, sine(read.recorded(read.own("angle"), b, t, ONLY, i)))


def _stretched(read: Reader, wave: Expression) -> Expression:
    assert isinstance(read.part, Rotary)
    stretch = read.part.stretch
    if stretch is None or stretch.attention == 1:
        return wave
    return wave * read.constant("attention", stretch.attention, "position.stretch.attention of the architecture")


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
