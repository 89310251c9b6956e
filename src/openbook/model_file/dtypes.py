"""The dtypes of numbers: as safetensors names them, and as people type them. `torch_dtypes` has PyTorch's."""

INT8 = "I8"

DTYPE_NAMES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
"""What a model's numbers may be: name in a header → name in words."""

EXPORT_DTYPES = {words: name for name, words in DTYPE_NAMES.items()}
"""Typed name → name in a header."""

IMPORT_DTYPES = {**EXPORT_DTYPES, "int8": INT8}
"""The same, with what only a model file here has."""
