"""Half-width numbers: finite, near the float32 answer, and the same dtype from end to end."""

from dataclasses import replace

import pytest
import torch
from torch.nn.functional import cross_entropy

from openbook.generation.cache.kv_cache import KVCache
from openbook.trace import trace
from openbook.transformer.architecture import Architecture, Attention, Block, FeedForward, Norm, Position, Stack
from openbook.transformer.mask import positions_of
from strategies import DEFAULT, build, difference, some_tokens

LAYER = Norm(kind="layer", bias=True)
LEARNED = Architecture(
    vocab_size=23,
    width=16,
    context=24,
    decoder=Stack(
        blocks=2
        * (
            Block(
                attention=Attention(heads=2, key_value_heads=2, head_width=8, bias=True, output_bias=True),
                feed_forward=FeedForward(width=32, activation="gelu_tanh", gated=False, bias=True),
                before=LAYER,
            ),
        ),
        position=Position(kind="learned"),
        final_norm=LAYER,
    ),
)
OFFSET = Norm(offset=1.0)
SANDWICHED = Architecture(
    vocab_size=23,
    width=16,
    context=24,
    decoder=Stack(
        blocks=2
        * (
            Block(
                attention=Attention(heads=4, key_value_heads=1, head_width=8, attention_softcap=20.0, window=3),
                feed_forward=FeedForward(width=32, activation="gelu"),
                before=OFFSET,
                after=OFFSET,
            ),
        ),
        final_norm=OFFSET,
    ),
    embedding_scale=4.0,
    logit_softcap=20.0,
)
SHAPES = {
    "default": DEFAULT,
    "learned": LEARNED,
    "sandwiched": SANDWICHED,
    "sinusoidal": replace(DEFAULT, decoder=replace(DEFAULT.decoder, position=Position(kind="sinusoidal"))),
    "relative": replace(DEFAULT, decoder=replace(DEFAULT.decoder, position=Position(kind="relative"))),
}

every_shape = pytest.mark.parametrize("spec", SHAPES.values(), ids=SHAPES)
every_half = pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 0.1), (torch.float16, 0.01)])


@torch.no_grad()
@every_shape
@every_half
@pytest.mark.parametrize("traced", [False, True])
def test_half_width_is_near_full_width(spec, dtype, tolerance, traced):
    tokens = some_tokens(2, 8)
    positions = positions_of(torch.tensor([[0, 0] + [1] * 6, [1] * 6 + [0, 0]], dtype=torch.bool))
    model = build(spec, dtype=dtype)
    if traced:
        with trace(model):
            logits = model(tokens, positions)
    else:
        logits = model(tokens, positions)
    assert logits.dtype == dtype
    assert difference(logits.float(), build(spec)(tokens, positions)) <= tolerance


@torch.no_grad()
@every_shape
@every_half
def test_half_width_cache(spec, dtype, tolerance):
    model, tokens, cache = build(spec, dtype=dtype), some_tokens(2, 8), KVCache(2)
    parts = [model(tokens[:, start : start + 4], cache=cache) for start in (0, 4)]
    assert difference(torch.cat(parts, 1).float(), model(tokens).float()) <= tolerance


@torch.no_grad()
@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("spec", [DEFAULT, LEARNED], ids=["rms", "layer"])
def test_large_values_do_not_overflow_the_norm(spec, traced):
    """300² is beyond float16."""
    norm = build(spec, dtype=torch.float16).decoder.final_norm
    x = 300 * torch.randn(4, 16)
    if traced:
        with trace(norm):
            y = norm(x.half())
    else:
        y = norm(x.half())
    assert y.dtype == torch.float16
    assert difference(y.float(), norm.float()(x)) <= 0.01


@every_shape
def test_autocast_trains(spec):
    model, tokens = build(spec), some_tokens(2, 8)
    with torch.autocast("cpu", torch.bfloat16):
        loss = cross_entropy(model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())
    loss.backward()
    assert all(parameter.grad.isfinite().all() and parameter.grad.any() for parameter in model.parameters())
