"""One block, one encoder, one decoder against torch.nn.Transformer's own layers with the same weights."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from openbook.transformer.architecture import NO_NORM, Attention, Block, FeedForward, Norm, Position, Stack
from openbook.transformer.block import Block as BlockPart
from openbook.transformer.block import Stack as StackPart
from openbook.transformer.cache import EncoderOutput
from openbook.transformer.mask import Mask, TokenPositions, make_mask, positions_of
from strategies import randomise

LIMIT = 1e-5
WIDTH, HEADS, HIDDEN, LAYERS = 24, 4, 40, 3
SOURCE, TARGET = 8, 6
NORM = Norm(kind="layer", epsilon=1e-5, bias=True)
RENAMED = {
    "self_attn.out_proj": "self_attention.output",
    "multihead_attn.out_proj": "cross_attention.output",
    "linear1": "feed_forward.up",
    "linear2": "feed_forward.down",
}


def block_spec(*, pre: bool, crosses: bool) -> Block:
    attention = Attention(heads=HEADS, key_value_heads=HEADS, head_width=WIDTH // HEADS, bias=True, output_bias=True)
    return Block(
        attention=attention,
        cross_attention=attention if crosses else None,
        feed_forward=FeedForward(width=HIDDEN, activation="relu", gated=False, bias=True),
        before=NORM if pre else NO_NORM,
        outer=NO_NORM if pre else NORM,
    )


def theirs(*, pre: bool, crosses: bool) -> nn.Module:
    kind = nn.TransformerDecoderLayer if crosses else nn.TransformerEncoderLayer
    layer = kind(WIDTH, HEADS, HIDDEN, dropout=0.0, norm_first=pre, batch_first=True).eval()
    randomise(layer)
    return layer


def renamed(weights, *, pre: bool, crosses: bool):
    """Their names as ours, the joined projections cut into query, key and value."""
    place = "before" if pre else "outer"
    residuals = ["self_attention", "cross_attention", "feed_forward"] if crosses else ["self_attention", "feed_forward"]
    names = RENAMED | {f"norm{n}": f"{part}_residual.{place}" for n, part in enumerate(residuals, start=1)}
    ours = {}
    for name, weight in weights.items():
        if "in_proj" in name:
            part = "cross_attention" if name.startswith("multihead") else "self_attention"
            for each, piece in zip(("query", "key", "value"), weight.chunk(3), strict=True):
                ours[f"{part}.{each}.{name.rpartition('_')[2]}"] = piece
        else:
            stem, _, end = name.rpartition(".")
            ours[f"{names[stem]}.{end}"] = weight
    return ours


def some(length):
    return torch.randn(3, length, WIDTH)


REAL = torch.arange(SOURCE) < torch.tensor([8, 3, 5])[:, None]


@torch.no_grad()
@pytest.mark.parametrize("pre", [False, True])
def test_a_block_of_an_encoder(pre):
    layer, block = theirs(pre=pre, crosses=False), BlockPart(WIDTH, block_spec(pre=pre, crosses=False), 0.0)
    block.load_state_dict(renamed(layer.state_dict(), pre=pre, crosses=False))
    x, places = some(SOURCE), TokenPositions(positions_of(REAL), padded=True)
    mask = make_mask(places, places, bidirectional=True)
    expected = layer(x, src_key_padding_mask=~REAL)
    assert (block(x, mask) - expected)[REAL].abs().max() <= LIMIT


@torch.no_grad()
@pytest.mark.parametrize("pre", [False, True])
def test_a_block_of_a_decoder(pre):
    layer, block = theirs(pre=pre, crosses=True), BlockPart(WIDTH, block_spec(pre=pre, crosses=True), 0.0)
    block.load_state_dict(renamed(layer.state_dict(), pre=pre, crosses=True))
    x, source, places = some(TARGET), some(SOURCE), TokenPositions(positions_of(REAL), padded=True)
    causal = nn.Transformer.generate_square_subsequent_mask(TARGET)
    expected = layer(x, source, tgt_mask=causal, tgt_is_causal=True, memory_key_padding_mask=~REAL)
    own = Mask(torch.ones(1, TARGET, TARGET, dtype=torch.bool).tril(), is_causal=True)
    cross = make_mask(TokenPositions(torch.arange(TARGET)[None]), places, bidirectional=True)
    assert (block(x, own, source=source, cross_mask=cross) - expected).abs().max() <= LIMIT


def stack_and_theirs(*, pre: bool, crosses: bool):
    """A stack of ours and one of theirs with equal weights; pre-norm ones end in a norm."""
    kind = nn.TransformerDecoder if crosses else nn.TransformerEncoder
    options = {} if crosses else {"enable_nested_tensor": False}
    last = nn.LayerNorm(WIDTH, eps=1e-5) if pre else None
    whole = kind(theirs(pre=pre, crosses=crosses), LAYERS, last, **options).eval()
    randomise(whole)
    block = block_spec(pre=pre, crosses=crosses)
    spec = Stack(blocks=LAYERS * (block,), position=Position(kind="none"), final_norm=NORM if pre else NO_NORM)
    stack = StackPart(WIDTH, 16, spec, 0.0, causal=crosses).eval()
    weights = {}
    for number, layer in enumerate(whole.layers):
        for name, weight in renamed(layer.state_dict(), pre=pre, crosses=crosses).items():
            weights[f"blocks.{number}.{name}"] = weight
    if pre:
        weights |= {f"final_norm.{name}": weight for name, weight in whole.norm.state_dict().items()}
    stack.load_state_dict(weights)
    return stack, whole


@torch.no_grad()
@pytest.mark.parametrize("pre", [False, True])
def test_an_encoder(pre):
    stack, whole = stack_and_theirs(pre=pre, crosses=False)
    x, places = some(SOURCE), TokenPositions(positions_of(REAL), padded=True)
    expected = whole(x, src_key_padding_mask=~REAL)
    assert (stack(x, places, places) - expected)[REAL].abs().max() <= LIMIT


@torch.no_grad()
@pytest.mark.parametrize("pre", [False, True])
def test_a_decoder(pre):
    stack, whole = stack_and_theirs(pre=pre, crosses=True)
    x, source, places = some(TARGET), some(SOURCE), TokenPositions(positions_of(REAL), padded=True)
    causal = nn.Transformer.generate_square_subsequent_mask(TARGET)
    expected = whole(x, source, tgt_mask=causal, tgt_is_causal=True, memory_key_padding_mask=~REAL)
    own = TokenPositions(torch.arange(TARGET)[None])
    assert (stack(x, own, own, None, EncoderOutput(source, places)) - expected).abs().max() <= LIMIT


def test_these_tests_can_fail():
    """Another place for the norms is not the same function."""
    layer = theirs(pre=True, crosses=False)
    block = BlockPart(WIDTH, replace(block_spec(pre=True, crosses=False), before=NO_NORM, outer=NORM), 0.0)
    block.load_state_dict(renamed(layer.state_dict(), pre=False, crosses=False))
    x = some(SOURCE)
    assert (block(x, Mask()) - layer(x)).abs().max() > 0.1
