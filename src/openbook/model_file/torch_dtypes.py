"""The dtypes of `dtypes` as PyTorch has them."""

import torch

from openbook.model_file.dtypes import INT8

DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
"""What a model's numbers may be."""

STORED_DTYPES = {**DTYPES, INT8: torch.int8}
"""What a model file's tensors may be: int8 matrices come with scales (see `quantization`)."""

HEADER_NAMES = {dtype: name for name, dtype in STORED_DTYPES.items()}
