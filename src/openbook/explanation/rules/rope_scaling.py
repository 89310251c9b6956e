"""How the frequencies of stretched rotary positions follow."""

import math

from openbook.explanation.expression import Expression, at_least, at_most, constant
from openbook.explanation.reader import Reader
from openbook.explanation.rules.table import rule
from openbook.transformer.architecture import Stretch
from openbook.transformer.position import Rotary
from openbook.transformer.rope_scaling import ramp


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
    if stretch.kind == "banded":
        source = "of position.stretch of the architecture"
        low = read.constant("low", stretch.low, f"low {source}")
        high = read.constant("high", stretch.high, f"high {source}")
        original = read.constant("L", stretch.original, f"original {source}")
        turns = original * own / constant(2 * math.pi, "2π")
        return at_least(0, at_most(1, (turns - low) / (high - low)))
    assert isinstance(read.part, Rotary)
    begin, end = ramp(read.part.head_width, read.part.base, stretch)
    source = "by position.stretch of the architecture: the pair that turns {} times within its original context"
    first = read.constant("first", begin, source.format(f"{stretch.high:g}"))
    last = read.constant("last", end, source.format(f"{stretch.low:g}"))
    return 1 - at_least(0, at_most(1, (i - first) / (last - first)))
