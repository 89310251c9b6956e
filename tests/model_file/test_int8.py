"""Matrices of 8 bits stand for float32 ones everywhere, and are near those that they were made of."""

import copy

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from openbook.generation.engines.onednn_linear import with_onednn_linear
from openbook.model_file import int8
from openbook.model_file.int8 import Int8Weight, dequantize, quantize
from strategies import VOCABULARY, architectures, build, difference, some_source, some_tokens

ROWS, COLUMNS = 70, 24


def matrix(*experts):
    return torch.randn(*experts, ROWS, COLUMNS)


def test_each_number_is_half_a_step_away_at_most():
    for weight in (matrix(), matrix(3), torch.zeros(2, 4), matrix() * 1e-30, matrix() * 1e30):
        found = quantize(weight)
        assert found.int_data.dtype == torch.int8 and found.scale.shape == (*weight.shape[:-1], 1)
        assert ((found.dequantize() - weight).abs() <= found.scale * 0.5001).all()
        assert torch.equal(quantize(found.dequantize()).int_data, found.int_data)  # and again gives the same


def test_products_and_look_ups_are_those_of_the_plain_numbers(monkeypatch):
    weight = quantize(matrix())
    linear = nn.Linear(COLUMNS, ROWS, device="meta")
    linear.load_state_dict({"weight": weight, "bias": torch.randn(ROWS)}, assign=True)
    x = torch.randn(2, 5, COLUMNS)
    for chunk in (1 << 18, 100):  # all rows at once, or four at a time
        monkeypatch.setattr(int8, "CHUNK", chunk)
        assert difference(linear(x), F.linear(x, weight.dequantize(), linear.bias)) < 1e-5
    tokens = torch.tensor([[3, 69, 3]])
    assert torch.equal(F.embedding(tokens, linear.weight), F.embedding(tokens, weight.dequantize()))
    where = torch.tensor([[1], [5]]), torch.tensor([[0, 23]])
    assert torch.equal(linear.weight.detach()[where], weight.dequantize()[where])
    for one, other in zip(quantize(matrix(3)).unbind(), range(3), strict=True):
        assert isinstance(one, Int8Weight), other
    assert torch.equal(linear.weight + 1, weight.dequantize() + 1)  # whatever else is asked of it


def test_it_stays_8_bits_and_as_it_is():
    linear = nn.Linear(COLUMNS, ROWS, bias=False, device="meta")
    linear.load_state_dict({"weight": quantize(matrix())}, assign=True)
    for same in (linear.weight.detach(), linear.state_dict()["weight"], linear.to("cpu").weight):
        assert isinstance(same, Int8Weight) and same.int_data.data_ptr() == linear.weight.int_data.data_ptr()
    shared = copy.deepcopy(linear, {id(linear.weight): linear.weight})
    assert shared.weight is linear.weight
    with pytest.raises(TypeError, match="int8 weights cannot be changed"):
        linear.weight.data.add_(1)


@given(st.booleans().flatmap(lambda paired: architectures(max_layers=2, encoder=paired)), st.integers(0, 100))
def test_models_compute_what_their_plain_numbers_do(spec, seed):
    model = build(spec, seed)
    for module in model.modules():
        for name, weight in list(module.named_parameters(recurse=False)):
            if weight.dim() > 1:
                setattr(module, name, nn.Parameter(quantize(weight.detach()), requires_grad=False))
    other = build(spec, seed)
    other.load_state_dict(dequantize(model.state_dict()))
    source = some_source(2, 5) if spec.is_encoder_decoder else None
    tokens = some_tokens(2, 7, vocab_size=VOCABULARY)
    with torch.no_grad():
        expected = other(tokens, source=source)
        for same in (model, with_onednn_linear(model)):
            assert difference(same(tokens, source=source), expected) <= 1e-4 * max(1.0, float(expected.abs().max()))
