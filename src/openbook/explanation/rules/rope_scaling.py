"""Rules for scaled rotary frequencies."""

from openbook.explanation.expression import PI, Expression, literal, max_over, maximum, minimum, running, shorthand
from openbook.explanation.reader import Reader
from openbook.explanation.rules.table import rule
from openbook.transformer.architecture import RopeScaling
from openbook.transformer.position import Rotary
from openbook.transformer.rope_scaling import ramp

TWO_PI = shorthand("2π", literal(2) * PI)


@rule(Rotary, "frequency")
def frequency(read: Reader, b: Expression, _: Expression, i: Expression) -> Expression:
    """The angle by which pair i rotates from one position to the next, slowed down to fit a longer context."""
    part = read.part
    assert isinstance(part, Rotary) and part.rope_scaling is not None
    rope_scaling, width = part.rope_scaling, part.head_width
    base = read.setting("base", part.base, "position.base")
    factor = read.setting("s", rope_scaling.factor, "position.rope_scaling.factor")
    if rope_scaling.kind == "dynamic":
        original = read.setting("L", rope_scaling.original_context, "position.rope_scaling.original_context")
        path = read.input_of()
        longest = max_over("t", read.recorded(path, b, running("t", read.shape(path)[-1]), name="position"))
        length = maximum(rope_scaling.original_context, longest + 1)
        grown = base * (factor * length / original - factor + 1) ** (width / (width - 2))
        return grown ** (-2.0 * i / width)
    own = read.define("f", base ** (-2.0 * i / width))
    if rope_scaling.kind == "linear":
        return own / factor
    kept = read.define("b", _kept_share(read, own, rope_scaling, i))
    return own * kept + own / factor * (1 - kept)


def _kept_share(read: Reader, own: Expression, rope_scaling: RopeScaling, i: Expression) -> Expression:
    """The share of its own frequency that pair i keeps: from 0 to 1."""
    if rope_scaling.kind == "frequency_bands":
        source = "of position.rope_scaling of the architecture"
        low = read.constant("low", rope_scaling.low_frequency, f"low {source}")
        high = read.constant("high", rope_scaling.high_frequency, f"high {source}")
        original = read.constant("L", rope_scaling.original_context, f"original {source}")
        turns = original * own / TWO_PI
        return maximum(0, minimum(1, (turns - low) / (high - low)))
    assert isinstance(read.part, Rotary)
    begin, end = ramp(read.part.head_width, read.part.base, rope_scaling)
    source = "by position.rope_scaling of the architecture: the pair that turns {} times within its original context"
    first = read.constant("first", begin, source.format(f"{rope_scaling.high_frequency:g}"))
    last = read.constant("last", end, source.format(f"{rope_scaling.low_frequency:g}"))
    return 1 - maximum(0, minimum(1, (i - first) / (last - first)))
