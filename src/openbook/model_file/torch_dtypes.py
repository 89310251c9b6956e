"""The dtypes of `dtypes` as PyTorch has them."""

from collections import Counter
from collections.abc import Mapping

import torch
from torch import Tensor

from openbook.errors import SettingError
from openbook.model_file.dtypes import INT8
from openbook.text.formatting import format_count

DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
"""What a model's numbers may be."""

STORED_DTYPES = {**DTYPES, INT8: torch.int8, "U8": torch.uint8}
"""What a model file's tensors may be: I8 and U8 are quantized matrices (see `quantization`)."""

HEADER_NAMES = {dtype: name for name, dtype in STORED_DTYPES.items()}

MOST_NAMED = 3
"""Tensors in a message."""


def narrowed(name: str, tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """The numbers of the tensor `name` in another dtype.

    Raises:
        OpenbookError: one becomes infinite there.
    """
    cast = NumberCast(dtype)
    stored = cast(name, tensor)
    cast.check()
    return stored


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
        check_lost(self._lost, str(self.dtype).removeprefix("torch."))


def check_lost(lost: Mapping[str, int], dtype: str) -> None:
    """Refuse a conversion in which numbers became infinite.

    Args:
        lost: how many, by the tensor's name.
        dtype: into which they were converted.

    Raises:
        OpenbookError: there are some; names the tensors and the cure.
    """
    names = [name for name, count in lost.items() if count]
    if not names:
        return
    listed = ", ".join(names[:MOST_NAMED]) + (f" and {len(names) - MOST_NAMED:,} more" * (len(names) > MOST_NAMED))
    cure = "float32" if dtype == "bfloat16" else "bfloat16 or float32"
    count = format_count(sum(lost.values()), "number")
    raise SettingError(f"tensor {listed}: {count} too large for {dtype}, so infinite there; take `dtype`={cure}")
