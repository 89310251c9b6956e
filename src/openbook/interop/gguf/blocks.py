"""Blocks of 32 quantized numbers of a GGUF file, as the groups of 32 that a model file has.

Q8_0: float16 d, 32 int8 q: d · q
Q4_0: float16 d, 16 bytes: d · (q − 8);  Q4_1: float16 d and m, 16 bytes: d · q + m
Byte j of the 16 has number j in its low half and number j + 16 in its high half.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from openbook.model_file.dtypes import INT4, INT8_GROUPS
from openbook.model_file.header import Shape
from openbook.model_file.int4 import Int4Weight, pack_numbers
from openbook.model_file.int8 import Int8Weight
from openbook.model_file.quantized_specs import GROUP
from openbook.model_file.quantized_weight import QuantizedWeight

LAYOUTS = {"Q4_0": INT4, "Q4_1": INT4, "Q8_0": INT8_GROUPS}
"""Type in the file → layout in a model file that has the same numbers."""
_HEADS = {"Q4_0": 1, "Q4_1": 2, "Q8_0": 1}  # float16 numbers at the beginning of a block


def read_blocks(content: NDArray[Any], type_name: str, shape: Shape) -> QuantizedWeight:
    """The matrix of these bytes: the same numbers, differently arranged.

    Args:
        content: the bytes, uint8.
        type_name: one of `LAYOUTS`.
        shape: (…, out, in), `in` a multiple of 32.
    """
    heads = 2 * _HEADS[type_name]
    blocks = content.reshape(*shape[:-1], shape[-1] // GROUP, heads + (GROUP if type_name == "Q8_0" else GROUP // 2))
    halves = torch.from_numpy(np.ascontiguousarray(blocks[..., :heads]).view(np.float16))
    scale, numbers = halves[..., 0].contiguous(), torch.from_numpy(np.ascontiguousarray(blocks[..., heads:]))
    if type_name == "Q8_0":
        return Int8Weight(numbers.view(torch.int8).flatten(-2), scale)
    in_order = torch.cat((numbers & 15, numbers >> 4), dim=-1).flatten(-2)
    offset = halves[..., 1].contiguous() if heads > 2 else scale * -8
    return Int4Weight(pack_numbers(in_order), scale, offset)
