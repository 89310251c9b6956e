"""The dtypes of `dtypes` as PyTorch has them."""

import torch
from torch import Tensor

from openbook.errors import OpenbookError
from openbook.model_file.dtypes import INT8

DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
"""What a model's numbers may be."""

STORED_DTYPES = {**DTYPES, INT8: torch.int8}
"""What a model file's tensors may be: int8 matrices come with scales (see `quantization`)."""

HEADER_NAMES = {dtype: name for name, dtype in STORED_DTYPES.items()}


def narrowed(name: str, tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """The numbers of the tensor `name` in another dtype.

    Raises:
        OpenbookError: one becomes infinite there.
    """
    stored = tensor.to(dtype)
    if torch.finfo(dtype).max < torch.finfo(tensor.dtype).max and (stored.isinf() & tensor.isfinite()).any():
        largest = float(tensor[tensor.isfinite()].abs().max())
        kind = str(dtype).removeprefix("torch.")
        raise OpenbookError(
            f"tensor {name}: {largest:.3g} does not fit in {kind}, which ends at {torch.finfo(dtype).max:,.0f}; "
            "take bfloat16 or float32"
        )
    return stored
