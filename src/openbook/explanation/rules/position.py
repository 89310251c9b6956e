"""How the numbers of positions follow: angles, their cosines and sines, and what is added to embeddings."""

from openbook.explanation.expression import (
    Expression,
    at_least,
    at_most,
    by_case,
    cosine,
    equal,
    floor,
    log,
    magnitude,
    sine,
)
from openbook.explanation.reader import ONLY, Reader
from openbook.explanation.rules.table import rule
from openbook.explanation.rules.token_positions import positions
from openbook.transformer.position import Learned, Relative, Rotary, Sinusoidal


@rule(Rotary, "angle")
def rotary_angle(read: Reader, b: Expression, t: Expression, _: Expression, i: Expression) -> Expression:
    """How far pair i is turned at the position of token t: early pairs turn fast, late ones slowly."""
    assert isinstance(read.part, Rotary)
    position = read.recorded(read.into(), b, t, name="position")
    if read.part.rope_scaling is not None:
        return position * read.recorded(read.own("frequency"), b, ONLY, i)
    return position * read.constant("base", read.part.base, "position.base of the architecture") ** (
        -2.0 * i / read.part.head_width
    )


@rule(Rotary, "cosine")
def rotary_cosine(read: Reader, b: Expression, t: Expression, _: Expression, i: Expression) -> Expression:
    """The cosine of the angle by which pair i is turned."""
    return _scaled_frequencies(read, cosine(read.recorded(read.own("angle"), b, t, ONLY, i)))


@rule(Rotary, "sine")
def rotary_sine(read: Reader, b: Expression, t: Expression, _: Expression, i: Expression) -> Expression:
    """The sine of the angle by which pair i is turned."""
    return _scaled_frequencies(read, sine(read.recorded(read.own("angle"), b, t, ONLY, i)))


def _scaled_frequencies(read: Reader, wave: Expression) -> Expression:
    assert isinstance(read.part, Rotary)
    rope_scaling = read.part.rope_scaling
    if rope_scaling is None or rope_scaling.attention_factor == 1:
        return wave
    return wave * read.constant(
        "attention", rope_scaling.attention_factor, "position.rope_scaling.attention_factor of the architecture"
    )


@rule(Sinusoidal, "angle")
def sinusoidal_angle(read: Reader, b: Expression, t: Expression, i: Expression) -> Expression:
    """Where wave i stands at the position of token t: early waves are fast, late ones slow."""
    assert isinstance(read.part, Sinusoidal)
    base = read.constant("base", read.part.base, "position.base of the architecture")
    width = 2 * read.shape(read.own("angle"))[-1]
    position = _position(read, b, t)
    if read.part.offset:
        position = position + read.constant("offset", read.part.offset, "position.offset of the architecture")
    return position * base ** (-2.0 * i / width)


@rule(Sinusoidal, "position_embedding")
def sinusoidal_embedding(read: Reader, b: Expression, t: Expression, d: Expression) -> Expression:
    """The position as waves: sines at even dimensions and cosines at odd ones, or the one after the other."""
    assert isinstance(read.part, Sinusoidal)
    angle = read.own("angle")
    if read.part.concatenated:
        half = read.shape(angle)[-1]
        return by_case(
            d < half,
            lambda b, t, d: sine(read.recorded(angle, b, t, d)),
            lambda b, t, d: cosine(read.recorded(angle, b, t, d - half)),
            (b, t, d),
        )
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


@rule(Relative, "bucket")
def relative_bucket(read: Reader, b: Expression, t: Expression, s: Expression) -> Expression:
    """The range of distances that token s is in as token t sees it: short distances have one each, long ones share."""
    part = read.part
    assert isinstance(part, Relative)
    one_way, exact = part.one_way, part.exact
    wider = one_way - exact
    own, kept = positions(read)

    def back(b: Expression, t: Expression, s: Expression) -> Expression:
        query = read.recorded(own, b, t, name="query_position")
        return query - read.recorded(kept, b, s, name="key_position")

    def far(b: Expression, t: Expression, s: Expression) -> Expression:
        return at_least(0, back(b, t, s)) if part.causal else magnitude(back(b, t, s))

    def shared(b: Expression, t: Expression, s: Expression) -> Expression:
        distance = read.constant("distance", part.max_distance, "position.max_distance of the architecture")
        return at_most(one_way - 1, exact + floor(log(far(b, t, s) / exact) / log(distance / exact) * wider))

    def one_side(b: Expression, t: Expression, s: Expression) -> Expression:
        return by_case(far(b, t, s) < exact, far, shared, (b, t, s))

    if part.causal:
        return one_side(b, t, s)
    later = back(b, t, s) < 0
    return by_case(later, lambda *index: one_way + one_side(*index), one_side, (b, t, s))


@rule(Relative, "bias")
def relative_bias(read: Reader, b: Expression, h: Expression, t: Expression, s: Expression) -> Expression:
    """What head h adds to the score of token s for its distance from token t."""
    return read.weight("weight", read.recorded(read.own("bucket"), b, t, s), h)


def _position(read: Reader, b: Expression, t: Expression) -> Expression:
    """The token's position; padding stands at −1 and is treated as 0."""
    return at_least(0, read.recorded(read.into(), b, t, name="position"))
