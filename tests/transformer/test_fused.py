"""Every drop-in against its formula: the same outputs and gradients; and when each of them runs."""

import pytest
import torch
from torch import nn

from openbook.trace import trace
from openbook.transformer import fused
from openbook.transformer.activation import gelu_tanh
from openbook.transformer.architecture import Attention, Position
from openbook.transformer.attention import attention
from openbook.transformer.mask import Mask, TokenPositions, make_mask
from openbook.transformer.norm import layer_norm, rms_norm
from openbook.transformer.position import Relative, relative_bias, rotate_pairs

TOLERANCE = {torch.float64: 1e-12, torch.float32: 5e-6, torch.bfloat16: 0.05}
DTYPES = list(TOLERANCE)
WIDE = [torch.float64, torch.float32]


def random(*shape, dtype=torch.float32, scale=1.0):
    return (scale * torch.randn(*shape, dtype=torch.float64)).to(dtype).requires_grad_()


def check(formula, *arguments):
    """The decorated function against the bare formula: the output, with and without gradients, and every gradient."""
    learned = [each for each in arguments if isinstance(each, torch.Tensor) and each.requires_grad]
    expected = formula.__wrapped__(*arguments)
    of_output = torch.randn(expected.shape).to(expected.dtype)
    tolerance = TOLERANCE[expected.dtype]
    close = {"rtol": tolerance, "atol": tolerance}
    wanted = torch.autograd.grad(expected, learned, of_output)
    found = formula(*arguments)
    torch.testing.assert_close(found, expected, **close)
    for one, other in zip(torch.autograd.grad(found, learned, of_output), wanted, strict=True):
        size = float(other.detach().abs().max().clamp(min=1.0))
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance * size)
    with torch.no_grad():
        torch.testing.assert_close(formula(*arguments), expected, **close)


@pytest.mark.parametrize("dtype", DTYPES)
def test_rms_norm(dtype):
    check(rms_norm, random(3, 5, 32, dtype=dtype, scale=3.0), random(32, dtype=dtype), 1e-5)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_layer_norm(dtype, bias):
    x, scale = random(3, 5, 32, dtype=dtype, scale=3.0), random(32, dtype=dtype)
    check(layer_norm, x, scale, random(32, dtype=dtype) if bias else None, 1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
def test_gelu(dtype):
    check(gelu_tanh, random(50, 20, dtype=dtype, scale=4.0))


@pytest.mark.parametrize("dtype", DTYPES)
def test_rotation(dtype):
    angle = torch.randn(2, 7, 1, 8)
    check(rotate_pairs, random(2, 7, 3, 16, dtype=dtype), angle.cos().to(dtype), angle.sin().to(dtype))


@pytest.mark.parametrize("max_distance", [20, fused.LARGEST_TABLE + 1])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("dtype", WIDE)
def test_relative_bias(dtype, causal, max_distance):
    part = Relative(3, Position(kind="relative", buckets=8, max_distance=max_distance), causal)
    position = torch.tensor([[0, 1, 2, 40, 3000], [0, 5, 6, 7, -1]])
    distance = position[..., :, None] - position[..., None, :]
    check(relative_bias, distance, random(8, 3, dtype=dtype), part.bucket, max_distance)


def spec(key_value_heads=4, **options):
    return Attention(heads=4, key_value_heads=key_value_heads, head_width=16, **options)


def square(length, **others):
    at = TokenPositions(torch.arange(length)[None], **others)
    return make_mask(at, at)


MASKS = {
    "everything": Mask(),
    "causal": square(24),
    "documents": square(24, document=torch.tensor([[0] * 10 + [1] * 14])),
    "bias": square(24).with_bias(torch.randn(1, 4, 24, 24, dtype=torch.float64)),
    "bias alone": Mask().with_bias(torch.randn(2, 4, 24, 24, dtype=torch.float64)),
}


@pytest.mark.parametrize("heads", [2, 4])
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_attention(dtype, mask, heads, monkeypatch):
    """The kernel, also where the formula is faster; heads share keys and values or have their own."""
    monkeypatch.setattr(fused, "_formula_is_faster", lambda query, key: False)
    mask = MASKS[mask]._replace(
        **{
            name: getattr(MASKS[mask], name).to(dtype)
            for name in ("bias", "additive")
            if getattr(MASKS[mask], name) is not None
        }
    )
    query = random(2, 4, 24, 16, dtype=dtype)
    key, value = random(2, heads, 24, 16, dtype=dtype), random(2, heads, 24, 16, dtype=dtype)
    check(attention, query, key, value, mask, spec(heads, scale=0.25))


def test_attention_without_a_kernel_is_the_formula():
    x = torch.randn(2, 4, 24, 16)
    assert fused.attention(x, x, x, Mask(), spec()) is not None
    assert fused.attention(x, x, x, Mask(), spec(attention_softcap=3.0)) is None
    assert fused.attention(x, x, x, Mask(), spec(attention_function="none")) is None
    assert fused.attention(x, x, x, Mask(), spec(), torch.zeros(4)) is None


def test_short_attention_on_a_cpu_is_the_formula():
    def runs_formula(queries, keys, heads=4, dtype=torch.float32, training=False):
        query, key = torch.randn(1, 4, queries, 8, dtype=dtype), torch.randn(1, heads, keys, 8, dtype=dtype)
        return fused.attention(query.requires_grad_(training), key, key, Mask(), spec(heads)) is None

    assert runs_formula(1, 128)
    assert runs_formula(8, 128)
    assert not runs_formula(9, 128)
    assert not runs_formula(8, 129)
    assert not runs_formula(1, 128, heads=2)
    assert not runs_formula(1, 128, training=True)
    assert runs_formula(300, 512, heads=2, dtype=torch.bfloat16, training=True)
    assert not runs_formula(300, 513, dtype=torch.bfloat16, training=True)


def test_exported_graphs_have_the_steps_that_runtimes_know(monkeypatch):
    query, key = torch.randn(1, 4, 1, 8), torch.randn(1, 4, 9, 8)
    mask = Mask(torch.rand(1, 1, 9) > 0.3)
    x, scale = torch.randn(2, 8), torch.ones(8)
    expected = attention(query, key, key, mask, spec(scale=0.3)), rms_norm(x, scale, 1e-5), gelu_tanh(x)
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
    assert fused.rms_norm(x, scale, 1e-5) is None
    assert fused.gelu_tanh(x) is None
    assert fused.attention(query, key, key, mask, spec(scale=0.3)) is not None
    found = attention(query, key, key, mask, spec(scale=0.3)), rms_norm(x, scale, 1e-5), gelu_tanh(x)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_random_bytes_are_uniform_whatever_the_shape():
    drawn = fused.random_bytes(torch.Size([333, 301]), torch.device("cpu"), torch.Generator().manual_seed(3))
    assert drawn.shape == (333, 301)
    counts = drawn.flatten().int().bincount(minlength=256).double()
    expected = drawn.numel() / 256
    assert ((counts - expected) ** 2 / expected).sum() < 350  # chi-squared of 255 degrees of freedom: p = 1e-4


def test_a_trace_runs_the_formula_and_never_the_drop_in():
    calls = []

    @fused.accelerated_by(lambda x: calls.append("drop-in") or x)
    def formula(x):
        calls.append("formula")
        return x

    @fused.accelerated_by(lambda x: None)
    def unserved(x):
        calls.append("unserved")
        return x

    x = torch.ones(1)
    formula(x)
    unserved(x)
    with trace(nn.Identity()):
        formula(x)
    assert calls == ["drop-in", "unserved", "formula"]
