"""Where norms stand in a block, and what differs from layer to layer in a stack."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from openbook.trace import trace
from openbook.transformer.architecture import NO_NORM, Norm, Position
from openbook.transformer.block import Residual, Stack
from openbook.transformer.mask import Mask
from strategies import DEFAULT, build, some_tokens

BLOCK = DEFAULT.decoder.blocks[0]
NONE = replace(BLOCK, before=NO_NORM)
RMS = Norm(kind="rms", epsilon=1e-9)


def normed(x):
    return F.rms_norm(x, (2,), eps=1e-9)


def tenfold(x):
    return 10 * x + 1


@pytest.mark.parametrize(
    ("slots", "expected"),
    [
        ({}, lambda x: x + tenfold(x)),
        ({"before": RMS}, lambda x: x + tenfold(normed(x))),
        ({"after": RMS}, lambda x: x + normed(tenfold(x))),
        ({"outer": RMS}, lambda x: normed(x + tenfold(x))),
        ({"before": RMS, "after": RMS, "outer": RMS}, lambda x: normed(x + normed(tenfold(normed(x))))),
    ],
    ids=["none", "pre", "after", "post", "all"],
)
def test_norms_stand_in_their_slots(slots, expected):
    x = torch.tensor([[[3.0, -4.0]]])
    torch.testing.assert_close(Residual(2, replace(NONE, **slots), 0.0)(x, tenfold), expected(x))


@torch.no_grad()
def test_attention_comes_before_feed_forward_and_each_has_its_own_norm():
    block = build(DEFAULT).decoder.blocks[0]
    block.self_attention.forward = lambda x, *_: 2 * x
    block.feed_forward = nn.Identity()
    block.self_attention_residual.before.weight.data.fill_(3.0)
    block.feed_forward_residual.before.weight.data.fill_(5.0)
    x = torch.randn(1, 1, 16)
    middle = x + 2 * 3 * F.rms_norm(x, (16,), eps=1e-6)
    expected = middle + 5 * F.rms_norm(middle, (16,), eps=1e-6)
    torch.testing.assert_close(block(x, Mask()), expected)


def test_a_layer_may_rotate_otherwise():
    """Layers 1 and 3 share one part; layers 0 and 2 use the stack's, which layer 2 names."""
    other, own = (replace(BLOCK, position=position) for position in (Position(base=50.0), DEFAULT.decoder.position))
    spec = replace(DEFAULT.decoder, blocks=(BLOCK, other, own, other))
    stack = Stack(16, 24, spec, 0.0)
    assert [part.base for part in stack.other_positions] == [50.0]


@torch.no_grad()
@pytest.mark.parametrize("base", [10_000.0, 50.0])
def test_keys_and_queries_turn_by_the_base_of_their_layer(base):
    second = replace(BLOCK, position=Position(base=base))
    model = build(replace(DEFAULT, decoder=replace(DEFAULT.decoder, blocks=(BLOCK, second))))
    with trace(model) as recorded:
        model(some_tokens(1, 3))
    part = model.decoder.blocks[1].self_attention
    angles = torch.arange(3.0)[:, None, None] * base ** (-torch.arange(4) / 4)
    for name, norm in (("query", part.query_norm), ("key", part.key_norm)):
        first, last = norm(recorded[f"decoder.blocks.1.self_attention.{name}"].value).chunk(2, dim=-1)
        turned = first * angles.cos() - last * angles.sin(), last * angles.cos() + first * angles.sin()
        rotated = recorded[f"decoder.blocks.1.self_attention.rotated_{name}"].value
        torch.testing.assert_close(rotated, torch.cat(turned, dim=-1), atol=1e-5, rtol=0)
