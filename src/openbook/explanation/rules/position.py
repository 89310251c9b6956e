"""Rules for positions: angles, their cosines and sines, and what is added to embeddings."""

from openbook.explanation.expression import (
    Expression,
    absolute,
    cos,
    equal,
    floor,
    log,
    maximum,
    minimum,
    piecewise,
    sin,
)
from openbook.explanation.reader import SINGLETON, Reader
from openbook.explanation.rules.table import rule
from openbook.explanation.rules.token_positions import positions
from openbook.transformer.position import Learned, Relative, Rotary, Sinusoidal


@rule(Rotary, "angle")
def rotary_angle(read: Reader, b: Expression, t: Expression, _: Expression, i: Expression) -> Expression:
    """The angle by which pair i is rotated at the position of token t: early pairs rotate fast, late ones slowly."""
    assert isinstance(read.part, Rotary)
    position = read.recorded(read.input_of(), b, t, name="position")
    if read.part.rope_scaling is not None:
        return position * read.noted("frequency", b, SINGLETON, i)
    return position * read.setting("base", read.part.base, "position.base") ** (-2.0 * i / read.part.head_width)


@rule(Rotary, "cosine")
def rotary_cos(read: Reader, b: Expression, t: Expression, _: Expression, i: Expression) -> Expression:
    """The cosine of the angle by which pair i is rotated."""
    return _scaled_wave(read, cos(read.noted("angle", b, t, SINGLETON, i)))


@rule(Rotary, "sine")
def rotary_sin(read: Reader, b: Expression, t: Expression, _: Expression, i: Expression) -> Expression:
    """The sine of the angle by which pair i is rotated."""
    return _scaled_wave(read, sin(read.noted("angle", b, t, SINGLETON, i)))


def _scaled_wave(read: Reader, wave: Expression) -> Expression:
    assert isinstance(read.part, Rotary)
    rope_scaling = read.part.rope_scaling
    if rope_scaling is None or rope_scaling.attention_factor == 1:
        return wave
    return wave * read.setting("attention", rope_scaling.attention_factor, "position.rope_scaling.attention_factor")


@rule(Sinusoidal, "angle")
def sinusoidal_angle(read: Reader, b: Expression, t: Expression, i: Expression) -> Expression:
    """The angle of wave i at the position of token t: early waves are fast, late ones slow."""
    assert isinstance(read.part, Sinusoidal)
    base = read.setting("base", read.part.base, "position.base")
    width = 2 * read.shape(read.path_of("angle"))[-1]
    position = _position(read, b, t)
    if read.part.offset:
        position = position + read.setting("offset", read.part.offset, "position.offset")
    return position * base ** (-2.0 * i / width)


@rule(Sinusoidal, "position_embedding")
def sinusoidal_embedding(read: Reader, b: Expression, t: Expression, d: Expression) -> Expression:
    """The position as waves: sines at even dimensions and cosines at odd ones, or all sines and then all cosines."""
    assert isinstance(read.part, Sinusoidal)
    angle = read.path_of("angle")
    if read.part.concatenated:
        half = read.shape(angle)[-1]
        return piecewise(
            d < half,
            lambda b, t, d: sin(read.recorded(angle, b, t, d)),
            lambda b, t, d: cos(read.recorded(angle, b, t, d - half)),
            (b, t, d),
        )
    return piecewise(
        equal(d % 2, 0),
        lambda b, t, d: sin(read.recorded(angle, b, t, d // 2)),
        lambda b, t, d: cos(read.recorded(angle, b, t, d // 2)),
        (b, t, d),
    )


@rule(Learned, "position_embedding")
def learned_embedding(read: Reader, b: Expression, t: Expression, d: Expression) -> Expression:
    """The trained vector of this position."""
    return read.weight("weight", _position(read, b, t), d)


@rule(Relative, "bucket")
def relative_bucket(read: Reader, b: Expression, t: Expression, s: Expression) -> Expression:
    """The bucket of the distance from token t to token s: each short distance has its own, long ones share."""
    part = read.part
    assert isinstance(part, Relative)
    per_side, exact = part.buckets_per_side, part.exact
    query_positions, key_positions = positions(read)

    def offset(b: Expression, t: Expression, s: Expression) -> Expression:
        query = read.recorded(query_positions, b, t, name="query_position")
        return query - read.recorded(key_positions, b, s, name="key_position")

    def distance(b: Expression, t: Expression, s: Expression) -> Expression:
        return maximum(0, offset(b, t, s)) if part.causal else absolute(offset(b, t, s))

    def shared(b: Expression, t: Expression, s: Expression) -> Expression:
        max_distance = read.setting("distance", part.max_distance, "position.max_distance")
        return minimum(
            per_side - 1, exact + floor(log(distance(b, t, s) / exact) / log(max_distance / exact) * (per_side - exact))
        )

    def one_side(b: Expression, t: Expression, s: Expression) -> Expression:
        return piecewise(distance(b, t, s) < exact, distance, shared, (b, t, s))

    if part.causal:
        return one_side(b, t, s)
    later = offset(b, t, s) < 0
    return piecewise(later, lambda *index: per_side + one_side(*index), one_side, (b, t, s))


@rule(Relative, "bias")
def relative_bias(read: Reader, b: Expression, h: Expression, t: Expression, s: Expression) -> Expression:
    """What head h adds to a score for the distance from token t to token s."""
    return read.weight("weight", read.noted("bucket", b, t, s), h)


def _position(read: Reader, b: Expression, t: Expression) -> Expression:
    """The token's position; padding, at −1, is treated as 0."""
    return maximum(0, read.recorded(read.input_of(), b, t, name="position"))
