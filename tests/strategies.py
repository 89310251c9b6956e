"""Random small architectures, models and batches, for tests that state what holds for all of them."""

from dataclasses import replace

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor, nn

from openbook.transformer.architecture import (
    NO_NORM,
    Architecture,
    Attention,
    Block,
    Experts,
    FeedForward,
    Norm,
    Position,
    RopeScaling,
    Stack,
)
from openbook.transformer.transformer import Transformer

VOCABULARY = 23
CONTEXT = 24

ESSENTIAL = Architecture(
    vocab_size=VOCABULARY,
    width=16,
    context=CONTEXT,
    decoder=Stack(
        blocks=2
        * (
            Block(
                attention=Attention(heads=2, key_value_heads=2, head_width=8, attention_function="none"),
                feed_forward=FeedForward(width=32, activation="relu", gated=False),
                before=NO_NORM,
            ),
        ),
        position=Position(kind="sinusoidal"),
        final_norm=NO_NORM,
    ),
)
"""No softmax and no normalisation."""

DEFAULT = Architecture(
    vocab_size=VOCABULARY,
    width=16,
    context=CONTEXT,
    decoder=Stack(
        blocks=2
        * (
            Block(
                attention=Attention(heads=4, key_value_heads=2, head_width=8, query_key_norm=Norm()),
                feed_forward=FeedForward(width=32),
            ),
        )
    ),
    tied_embeddings=True,
)
"""The shape that training picks: pre-norm RMSNorm, rotary, grouped heads, QK-norm, SwiGLU, tied."""

SOURCE_VOCABULARY = 19


def original(vocab_size: int) -> Architecture:
    """The base model of "Attention Is All You Need" (Vaswani et al. 2017, table 3).

    Six layers each, width 512, eight heads, feed-forward 2048 with ReLU, norms after each sum, sinusoidal positions;
    both embeddings and the logits share one matrix, and embeddings are multiplied by √512 (section 3.4).
    """
    attention = Attention(heads=8, key_value_heads=8, head_width=64)
    encoding = Block(
        attention=attention,
        feed_forward=FeedForward(width=2048, activation="relu", gated=False, bias=True),
        before=NO_NORM,
        outer=Norm(kind="layer", bias=True),
    )
    decoding = replace(encoding, cross_attention=attention)
    position = Position(kind="sinusoidal")
    return Architecture(
        vocab_size=vocab_size,
        width=512,
        context=512,
        encoder=Stack(blocks=6 * (encoding,), position=position, final_norm=NO_NORM),
        decoder=Stack(blocks=6 * (decoding,), position=position, final_norm=NO_NORM),
        tied_embeddings=True,
        embedding_scale=512**0.5,
    )


_plain = Block(
    attention=Attention(heads=4, key_value_heads=4, head_width=4),
    feed_forward=FeedForward(width=24, activation="relu", gated=False, bias=True),
    before=NO_NORM,
    outer=Norm(kind="layer", bias=True),
)
ORIGINAL = replace(
    original(VOCABULARY),
    width=16,
    context=CONTEXT,
    encoder=replace(original(VOCABULARY).encoder, blocks=2 * (_plain,)),
    decoder=replace(original(VOCABULARY).decoder, blocks=2 * (replace(_plain, cross_attention=_plain.attention),)),
    embedding_scale=4.0,
)
"""The encoder-decoder of 2017, made small."""

_unscaled = Block(
    attention=Attention(heads=4, key_value_heads=4, head_width=6, scale=1.0),
    feed_forward=FeedForward(width=24, activation="gelu_tanh"),
)
RELATIVE = Architecture(
    vocab_size=VOCABULARY,
    width=16,
    context=CONTEXT,
    encoder=Stack(blocks=2 * (_unscaled,), position=Position(kind="relative", buckets=8, max_distance=10)),
    decoder=Stack(
        blocks=2 * (replace(_unscaled, cross_attention=_unscaled.attention),),
        position=Position(kind="relative", buckets=6, max_distance=9),
    ),
    logit_scale=0.25,
    tied_embeddings=True,
)
"""Pre-norm, scores unscaled, with a bias for relative positions."""

_biased = replace(
    _plain,
    attention=replace(_plain.attention, bias=True, output_bias=True),
    feed_forward=replace(_plain.feed_forward, activation="silu"),
)
HALVES = replace(
    ORIGINAL,
    source_vocab_size=SOURCE_VOCABULARY,
    encoder=Stack(
        blocks=2 * (_biased,),
        position=Position(kind="sinusoidal", concatenated=True),
        final_norm=NO_NORM,
        embedding_norm=Norm(),
    ),
    decoder=Stack(
        blocks=2 * (replace(_biased, cross_attention=_biased.attention),),
        position=Position(kind="sinusoidal", concatenated=True, offset=2),
        final_norm=NO_NORM,
    ),
    logit_bias=True,
)
"""Post-norm with biases, sines before cosines, a vocabulary of its own for sources."""

ENCODER_DECODERS = {"original": ORIGINAL, "relative": RELATIVE, "concatenated": HALVES}

_scales = st.floats(0.25, 4.0, width=16)
_caps = st.none() | st.floats(2.0, 30.0, width=16)
_layer_positions = st.builds(
    Position, kind=st.sampled_from(["rotary", "none"]), base=st.sampled_from([100.0, 10_000.0])
)
_stretches = st.builds(
    RopeScaling,
    kind=st.sampled_from(
        ["linear", "frequency_bands", "yarn"]
    ),  # the angles of a dynamic one depend on what comes later
    factor=st.sampled_from([1.0, 4.0]),
    original_context=st.sampled_from([8, 100]),
    truncate=st.booleans(),
    attention_factor=st.sampled_from([1.0, 1.2]),
)
_layer_positions = _layer_positions | st.builds(Position, base=st.just(100.0), rope_scaling=_stretches)
_stack_positions = st.one_of(
    st.builds(
        Position,
        kind=st.sampled_from(["rotary", "learned", "none"]),
        base=st.sampled_from([100.0, 10_000.0]),
    ),
    st.builds(Position, kind=st.just("sinusoidal"), concatenated=st.booleans(), offset=st.sampled_from([0, 2])),
    st.builds(Position, kind=st.just("relative"), buckets=st.integers(4, 9), max_distance=st.integers(5, 20)),
)


@st.composite
def norms(draw: st.DrawFn) -> Norm:
    kind = draw(st.sampled_from(["rms", "layer", "none"]))
    bias = kind == "layer" and draw(st.booleans())
    return Norm(kind=kind, epsilon=draw(st.sampled_from([1e-6, 1e-3])), offset=draw(st.sampled_from([0, 1])), bias=bias)


@st.composite
def attentions(draw: st.DrawFn) -> Attention:
    key_value_heads = draw(st.integers(1, 2))
    attention_function = draw(st.sampled_from(["softmax", "softmax", "none"]))
    return Attention(
        heads=key_value_heads * draw(st.integers(1, 3)),
        key_value_heads=key_value_heads,
        head_width=draw(st.sampled_from([2, 4, 8])),
        bias=draw(st.booleans()),
        output_bias=draw(st.booleans()),
        query_key_norm=draw(norms()),
        scale=draw(st.none() | _scales),
        attention_softcap=draw(_caps),
        window=draw(st.none() | st.integers(1, CONTEXT)),
        attention_function=attention_function,
        sinks=attention_function == "softmax" and draw(st.booleans()),
    )


@st.composite
def experts(draw: st.DrawFn) -> Experts:
    count = draw(st.integers(1, 4))
    return Experts(
        count=count,
        experts_per_token=draw(st.integers(1, count)),
        normalize_weights=draw(st.booleans()),
        router_bias=draw(st.booleans()),
    )


@st.composite
def blocks(draw: st.DrawFn, crosses: bool = False) -> Block:
    gated = draw(st.booleans())
    feed_forward = FeedForward(
        width=draw(st.sampled_from([12, 20])),
        activation=draw(st.sampled_from(["relu", "gelu", "gelu_tanh", "gelu_sigmoid", "silu", "relu_squared"])),
        gated=gated,
        bias=draw(st.booleans()),
        limit=draw(st.none() | st.just(0.5)) if gated else None,
        up_offset=draw(st.sampled_from([0.0, 1.0])) if gated else 0.0,
        experts=draw(st.none() | experts()),
    )
    before, after, outer = draw(norms()), draw(norms()), draw(norms())
    position = draw(st.none() | _layer_positions)
    return Block(
        attention=draw(attentions()),
        cross_attention=replace(draw(attentions()), window=None) if crosses else None,
        feed_forward=feed_forward,
        before=before,
        after=after,
        outer=outer,
        position=position,
    )


@st.composite
def stacks(draw: st.DrawFn, max_layers: int = 3, crosses: bool = False) -> Stack:
    layers = draw(st.lists(blocks(crosses), min_size=1, max_size=max_layers))
    position = draw(_stack_positions)
    if position.kind == "relative":  # one table for all layers, so they have as many heads; and one at least uses it
        layers[0] = replace(layers[0], position=None)
        same = {"heads": layers[0].attention.heads, "key_value_heads": layers[0].attention.key_value_heads}
        layers = [replace(layer, attention=replace(layer.attention, **same)) for layer in layers]
    return Stack(blocks=tuple(layers), position=position, embedding_norm=draw(norms()), final_norm=draw(norms()))


@st.composite
def architectures(draw: st.DrawFn, max_layers: int = 3, encoder: bool = False) -> Architecture:
    """Any architecture made of all the parts, small enough to run in a millisecond or two; decoder-only by default."""
    return Architecture(
        vocab_size=VOCABULARY,
        width=draw(st.sampled_from([8, 12])),
        context=CONTEXT,
        encoder=draw(stacks(max_layers)) if encoder else None,
        source_vocab_size=draw(st.none() | st.just(SOURCE_VOCABULARY)) if encoder else None,
        decoder=draw(stacks(max_layers, crosses=encoder)),
        tied_embeddings=draw(st.booleans()),
        embedding_scale=draw(_scales),
        logit_scale=draw(_scales),
        logit_softcap=draw(_caps),
        logit_bias=draw(st.booleans()),
    )


def with_windows(spec: Architecture, window: int | None) -> Architecture:
    """The same architecture with this window in every layer."""
    changed = tuple(replace(b, attention=replace(b.attention, window=window)) for b in spec.decoder.blocks)
    return replace(spec, decoder=replace(spec.decoder, blocks=changed))


def randomise(model: nn.Module) -> None:
    """Give every parameter a value of its own; one that is left at 0 or 1 could be left out unnoticed."""
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape)
            if parameter.dim() == 1:
                parameter.add_(0.2 * noise)  # around 1 for norms, around 0 for biases
            else:
                parameter.copy_(noise / parameter.shape[-1] ** 0.5)


def build(spec: Architecture, seed: int = 0, dtype: torch.dtype = torch.float32) -> Transformer:
    """A model with random weights, ready to evaluate."""
    torch.manual_seed(seed)
    model = Transformer(spec)
    randomise(model)
    return model.to(dtype).eval()


def some_tokens(rows: int, length: int, seed: int = 0, vocab_size: int = VOCABULARY) -> Tensor:
    """Token ids (rows, length)."""
    return torch.randint(vocab_size, (rows, length), generator=torch.Generator().manual_seed(seed))


def some_source(rows: int, length: int, seed: int = 1) -> Tensor:
    """Token ids (rows, length) that every encoder here can read."""
    return some_tokens(rows, length, seed, SOURCE_VOCABULARY)


def other_token(tokens: Tensor) -> Tensor:
    """A different token for each of these."""
    return (tokens + 1) % VOCABULARY


def difference(one: Tensor | np.ndarray, other: Tensor | np.ndarray) -> float:
    """The greatest difference, relative to the greatest number where that is above 1; NaN counts as infinite."""
    one, other = torch.as_tensor(one), torch.as_tensor(other)
    if one.numel() == 0:
        return 0.0
    gap = (one - other).abs().max() / other.abs().max().clamp(min=1.0)
    return float(gap.detach().nan_to_num(nan=torch.inf))


def models() -> st.SearchStrategy[Transformer]:
    """Models of any architecture in float64, where a random one's ill-conditioned norms do not hide a mistake or
    feign one; and the default and the essential model in float32."""
    anything = architectures().map(lambda spec: build(spec, dtype=torch.float64))
    return st.one_of(anything, anything, anything, st.sampled_from([DEFAULT, ESSENTIAL]).map(build))


def translators() -> st.SearchStrategy[Transformer]:
    """The same for encoder-decoders."""
    anything = architectures(max_layers=2, encoder=True).map(lambda spec: build(spec, dtype=torch.float64))
    return st.one_of(anything, anything, st.sampled_from(list(ENCODER_DECODERS.values())).map(build))
