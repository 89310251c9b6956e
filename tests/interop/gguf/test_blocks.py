"""Quantized blocks of GGUF files become groups of a model file, number by number."""

import gguf
import numpy as np
import pytest
import torch

from openbook.interop.gguf.blocks import LAYOUTS, read_blocks

ROWS, COLUMNS = 6, 96


@pytest.mark.parametrize("type_name", LAYOUTS)
def test_every_number_is_the_one_that_the_gguf_library_reads(type_name):
    kind = gguf.GGMLQuantizationType[type_name]
    numbers = np.random.default_rng(0).normal(size=(ROWS, COLUMNS)).astype(np.float32)
    content = gguf.quants.quantize(numbers, kind)
    expected = gguf.quants.dequantize(content, kind)
    found = read_blocks(content.reshape(-1).view(np.uint8), type_name, (ROWS, COLUMNS))
    assert torch.equal(found.dequantize(), torch.from_numpy(expected.copy()))
