"""The dtypes of numbers: as safetensors names them, and as people type them. `torch_dtypes` has PyTorch's."""

from collections.abc import Mapping

from openbook.errors import SettingError

INT8, INT8_GROUPS, INT4 = "I8", "I8_GROUPS", "I4"
"""Layouts of quantized matrices, see `quantized_specs`: a scale for each row, or for each group of 32 numbers of it."""

DTYPE_NAMES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
"""What a model's numbers may be: name in a header → name in words."""

EXPORT_DTYPES = {words: name for name, words in DTYPE_NAMES.items()}
"""Typed name → name in a header."""

IMPORT_DTYPES = {**EXPORT_DTYPES, "int8": INT8, "int4": INT4}
"""The same, with what only a model file here has."""


def header_dtype(name: str, known: Mapping[str, str]) -> str:
    """The name in a header of a dtype that someone typed. Raises OpenbookError with those that are known."""
    if name not in known:
        raise SettingError(f"`dtype` {name}: must be one of {', '.join(known)}")
    return known[name]
