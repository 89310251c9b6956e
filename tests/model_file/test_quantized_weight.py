"""Quantized matrices stand for float32 ones everywhere, and are near those that they were made of."""

import copy

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from openbook.generation.engines.onednn_linear import with_onednn_linear
from openbook.model_file import int4, int8, quantized_weight
from openbook.model_file.int8 import Int8Weight
from openbook.model_file.quantized_weight import QuantizedWeight, dequantize, in_groups
from strategies import VOCABULARY, architectures, build, difference, some_source, some_tokens

ROWS, COLUMNS = 70, 96


def matrix(*experts):
    return torch.randn(*experts, ROWS, COLUMNS)


def int8_groups(weight):
    """With a scale for each group, as from a GGUF file."""
    groups = in_groups(weight.float())
    scale = (groups.abs().amax(-1) / 127).half()
    return Int8Weight((groups / scale.float().clamp(min=1e-7)[..., None]).round().to(torch.int8).flatten(-2), scale)


KINDS = {"int8": int8.quantize, "int8 groups": int8_groups, "int4": int4.quantize}
kinds = pytest.mark.parametrize("quantize", KINDS.values(), ids=KINDS)


def test_each_number_of_8_bits_is_half_a_step_away_at_most():
    for weight in (matrix(), matrix(3), torch.zeros(2, 4), matrix() * 1e-30, matrix() * 1e30):
        found = int8.quantize(weight)
        assert found.int_data.dtype == torch.int8 and found.scale.shape == (*weight.shape[:-1], 1)
        assert ((found.dequantize() - weight).abs() <= found.scale * 0.5001).all()
        assert torch.equal(int8.quantize(found.dequantize()).int_data, found.int_data)  # and again gives the same


def test_numbers_of_4_bits_are_no_further_than_between_the_least_and_the_largest():
    for weight in (matrix(), matrix(3), torch.zeros(2, 64), matrix() + 5, matrix() * 1000):
        found = int4.quantize(weight)
        assert found.packed.dtype == torch.uint8 and found.packed.shape == (*weight.shape[:-1], weight.shape[-1] // 2)
        assert found.scale.shape == found.offset.shape == (*weight.shape[:-1], weight.shape[-1] // 32)
        groups = in_groups(weight)
        steps = (groups.amax(-1) - groups.amin(-1)) / 15
        off = in_groups(found.dequantize() - weight).square().mean(-1).sqrt()
        # Even rounding of each number to 16 steps is off by 1/√12 of a step, and float16 adds a little to offsets.
        assert (off <= steps * 0.36 + groups.abs().amax(-1) * 2**-11).all()


def test_numbers_that_4_bits_can_have_are_kept():
    scale, offset = torch.rand(ROWS, 3, 1).half().float() + 0.5, torch.randn(ROWS, 3, 1).half().float()
    scale = scale.half().float()
    numbers = torch.randint(0, 16, (ROWS, 3, 32))
    numbers[..., 0], numbers[..., 1] = 0, 15
    weight = (numbers * scale + offset).flatten(-2)
    assert torch.equal(int4.quantize(weight).dequantize(), weight)


def test_two_numbers_lie_in_a_byte_the_first_in_its_low_half():
    weight = torch.arange(32).remainder(16).float()[None]
    found = int4.quantize(weight)
    assert found.packed[0, :2].tolist() == [0x10, 0x32]
    assert torch.equal(found.dequantize(), weight)


@kinds
def test_products_and_look_ups_are_those_of_the_plain_numbers(quantize, monkeypatch):
    weight = quantize(matrix())
    linear = nn.Linear(COLUMNS, ROWS, device="meta")
    linear.load_state_dict({"weight": weight, "bias": torch.randn(ROWS)}, assign=True)
    x = torch.randn(2, 5, COLUMNS)
    for chunk in (1 << 18, 400):  # all rows at once, or four at a time
        monkeypatch.setattr(quantized_weight, "CHUNK", chunk)
        assert difference(linear(x), F.linear(x, weight.dequantize(), linear.bias)) < 1e-5
    tokens = torch.tensor([[3, 69, 3]])
    assert torch.equal(F.embedding(tokens, linear.weight), F.embedding(tokens, weight.dequantize()))
    where = torch.tensor([[1], [5]]), torch.tensor([[0, 33]])
    assert torch.equal(linear.weight.detach()[where], weight.dequantize()[where])
    for one, other in zip(quantize(matrix(3)).unbind(), range(3), strict=True):
        assert isinstance(one, QuantizedWeight), other
    assert torch.equal(linear.weight + 1, weight.dequantize() + 1)  # whatever else is asked of it


@kinds
def test_it_stays_quantized_and_as_it_is(quantize):
    linear = nn.Linear(COLUMNS, ROWS, bias=False, device="meta")
    linear.load_state_dict({"weight": quantize(matrix())}, assign=True)
    for same in (linear.weight.detach(), linear.state_dict()["weight"], linear.to("cpu").weight):
        assert type(same) is type(linear.weight) or isinstance(same, QuantizedWeight)
        assert same.parts[0].data_ptr() == linear.weight.parts[0].data_ptr()
    shared = copy.deepcopy(linear, {id(linear.weight): linear.weight})
    assert shared.weight is linear.weight
    with pytest.raises(TypeError, match="quantized weights cannot be changed"):
        linear.weight.data.add_(1)


@given(
    st.booleans().flatmap(lambda paired: architectures(max_layers=2, encoder=paired)),
    st.integers(0, 100),
    st.sampled_from(list(KINDS.values())),
)
def test_models_compute_what_their_plain_numbers_do(spec, seed, quantize):
    model = build(spec, seed)
    for module in model.modules():
        for name, weight in list(module.named_parameters(recurse=False)):
            if weight.dim() > 1 and (quantize is int8.quantize or weight.shape[-1] % 32 == 0):
                setattr(module, name, nn.Parameter(quantize(weight.detach()), requires_grad=False))
    other = build(spec, seed)
    other.load_state_dict(dequantize(model.state_dict()))
    source = some_source(2, 5) if spec.is_encoder_decoder else None
    tokens = some_tokens(2, 7, vocab_size=VOCABULARY)
    with torch.no_grad():
        expected = other(tokens, source=source)
        for same in (model, with_onednn_linear(model)):
            assert difference(same(tokens, source=source), expected) <= 1e-4 * max(1.0, float(expected.abs().max()))
