"""The dtypes of numbers: as safetensors names them, as PyTorch does, and as people type them."""

import torch

INT8 = "I8"

DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
"""What a model's numbers may be."""

STORED_DTYPES = {**DTYPES, INT8: torch.int8}
"""What a model file's tensors may be: int8 matrices come with scales (see `quantization`)."""

HEADER_NAMES = {dtype: name for name, dtype in STORED_DTYPES.items()}

EXPORT_DTYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}
"""Typed name → name in a header."""

IMPORT_DTYPES = {**EXPORT_DTYPES, "int8": INT8}
"""The same, with what only a model file here has."""
