"""Converting numbers to another dtype, and seeing to it that none of them becomes infinite."""

from collections import Counter
from collections.abc import Mapping

import torch
from torch import Tensor

from openbook.errors import OpenbookError
from openbook.text.formatting import format_count

MOST_NAMED = 3


class NumberCast:
    """Converts tensors to a dtype and counts the numbers that are beyond its range.

    `check` refuses them in the end, so that the message counts them all; what was written until then must go.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self._lost: Counter[str] = Counter()

    def __call__(self, name: str, part: Tensor) -> Tensor:
        """A part of a tensor in the dtype. Numbers that are not finite stay so and do not count."""
        cast = part.to(self.dtype)
        if cast.dtype != part.dtype and torch.finfo(part.dtype).max > torch.finfo(self.dtype).max:
            finite = torch.isfinite(cast)
            if not finite.all():
                self._lost[name] += int((torch.isfinite(part) & ~finite).sum())
        return cast

    def check(self) -> None:
        """Raises OpenbookError if a number did not fit; see `check_lost`."""
        check_lost(self._lost, str(self.dtype).removeprefix("torch."), torch.finfo(self.dtype).max)


def check_lost(lost: Mapping[str, int], dtype: str, largest: float) -> None:
    """Refuse a conversion in which numbers became infinite.

    Args:
        lost: how many, by the tensor's name.
        dtype: into which they were converted.
        largest: number of that dtype.

    Raises:
        OpenbookError: there are some; names the tensors and the cure.
    """
    names = [name for name, count in lost.items() if count]
    if not names:
        return
    listed = ", ".join(names[:MOST_NAMED]) + (f" and {len(names) - MOST_NAMED:,} more" * (len(names) > MOST_NAMED))
    limit = f"{largest:,.0f}" if largest < 1e9 else f"{largest:.2g}"
    other = "float32" if dtype == "bfloat16" else "bfloat16 or float32"
    raise OpenbookError(
        f"{format_count(sum(lost.values()), 'number')} of {listed} would become infinite in {dtype}, which ends at "
        f"±{limit}; take --dtype {other}"
    )
