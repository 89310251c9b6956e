"""The types of a GGUF file's numbers: single numbers, and blocks of small integers with common 16-bit scales."""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openbook.errors import OpenbookError
from openbook.interop.gguf import k_types
from openbook.interop.gguf.header import BlockSize

READABLE = (
    *("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"),
    *("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS", "MXFP4"),
)
"""The types that can be read."""

WRITTEN = {name.lower(): name for name in ("Q8_0", "Q6_K", "Q5_K", "Q5_1", "Q5_0", "Q4_K", "Q4_1", "Q4_0")}
"""The types with blocks that can be written: typed name → name in the file."""

STANDS_IN = {"Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0"}
"""What llama.cpp, too, writes in place of a type whose blocks of 256 do not fill a row."""

CHUNK = 1 << 20
"""How many numbers are quantized at a time."""

_K_TYPES: Mapping[str, Callable[[k_types.Floats], k_types.Bytes]] = {
    "Q4_K": k_types.quantize_q4_k,
    "Q5_K": k_types.quantize_q5_k,
    "Q6_K": k_types.quantize_q6_k,
}


def type_for_rows(type_name: str, length: int) -> str:
    """The type, or the nearest whose blocks fill rows of this length."""
    blocks = dict(readable_types().values())
    if length % blocks[type_name].numbers == 0:
        return type_name
    return type_for_rows(STANDS_IN.get(type_name, "F16"), length)


def quantize(values: NDArray[np.float32], type_name: str) -> NDArray[Any]:
    """Numbers (…, row) as a tensor of this type has them: float32, float16, or bytes (…, bytes of a row).

    Q4_0, Q4_1, Q5_0, Q5_1 and Q8_0 are those of the gguf library, which are llama.cpp's to the bit. Numbers too
    large for a 16-bit scale are not finite when they are read back.
    """
    if type_name not in _K_TYPES:
        gguf = library()
        quantized: NDArray[Any] = gguf.quants.quantize(values, gguf.GGMLQuantizationType[type_name])
        return quantized
    blocks = values.reshape(-1, k_types.SUPER_BLOCK)
    step = CHUNK // k_types.SUPER_BLOCK
    parts = [_K_TYPES[type_name](blocks[start : start + step]) for start in range(0, len(blocks), step)]
    return np.concatenate(parts).reshape(*values.shape[:-1], -1)


@cache
def readable_types() -> dict[int, tuple[str, BlockSize]]:
    """The number of each readable type in a file → its name and block size.

    Raises:
        OpenbookError: the gguf library is not installed.
    """
    sizes = library().GGML_QUANT_SIZES
    return {int(each): (each.name, BlockSize(*sizes[each])) for each in sizes if each.name in READABLE}


def dequantize(content: NDArray[np.uint8], type_name: str) -> NDArray[np.float32]:
    """The float32 numbers of a tensor's bytes."""
    if type_name == "F32":
        return content.view(np.float32)
    if type_name == "F16":
        return content.view(np.float16).astype(np.float32)
    gguf = library()
    values = gguf.quants.dequantize(content[None], gguf.GGMLQuantizationType[type_name])
    return np.ascontiguousarray(values.reshape(-1), np.float32)


def library() -> Any:
    """The gguf library, imported when it is needed."""
    try:
        import gguf
    except ImportError:
        raise OpenbookError("GGUF files need the gguf package; pip install 'openbook[gguf]'") from None
    return gguf
