"""Small architectures that together have every part and every option, and traced runs of them."""

from dataclasses import replace

import torch

from openbook.generation.cache.kv_cache import KVCache
from openbook.trace import note, trace
from openbook.transformer.architecture import NO_NORM, Architecture, Experts, Norm, Position, RopeScaling
from openbook.transformer.mask import SHARED_PREFIX, positions_of
from strategies import DEFAULT, ESSENTIAL, build, some_source, some_tokens, with_windows

LAYER_NORM = Norm(kind="layer", epsilon=1e-5, bias=True)


def changed(attention=None, feed_forward=None, stack=None, model=None, **block):
    """The default architecture with these fields of its parts changed in every block."""
    spec = DEFAULT
    blocks = tuple(
        replace(
            each,
            attention=replace(each.attention, **(attention or {})),
            feed_forward=replace(each.feed_forward, **(feed_forward or {})),
            **block,
        )
        for each in spec.decoder.blocks
    )
    return replace(spec, decoder=replace(spec.decoder, blocks=blocks, **(stack or {})), **(model or {}))


def mixed_positions():
    """Layers with rotary positions of another base, with none, and with a window of their own."""
    first, second = DEFAULT.decoder.blocks
    windowed = replace(first, attention=replace(first.attention, window=3), position=Position(base=100.0))
    unplaced = replace(second, position=Position(kind="none"))
    wide = replace(second, attention=replace(second.attention, head_width=4))
    return replace(DEFAULT, decoder=replace(DEFAULT.decoder, blocks=(first, windowed, unplaced, wide)))


ARCHITECTURES: dict[str, Architecture] = {
    "default": DEFAULT,
    "essential": ESSENTIAL,
    "window": with_windows(DEFAULT, 4),
    "one key for all heads": changed(attention={"key_value_heads": 1}),
    "a key for each head": changed(attention={"key_value_heads": 4}),
    "biases": changed(attention={"bias": True, "output_bias": True}, feed_forward={"bias": True}),
    "score scale and cap": changed(attention={"scale": 0.7, "attention_softcap": 2.0}),
    "essential with cap": changed(attention={"attention_function": "none", "attention_softcap": 2.0}),
    "no query-key norm": changed(attention={"query_key_norm": NO_NORM}),
    "layer query-key norm": changed(attention={"query_key_norm": LAYER_NORM}),
    "offset norms": changed(before=Norm(offset=1.0), stack={"final_norm": Norm(offset=1.0, epsilon=1e-3)}),
    "layer norms": changed(before=LAYER_NORM, stack={"final_norm": Norm(kind="layer", offset=1.0)}),
    "post norms": changed(before=NO_NORM, outer=LAYER_NORM, stack={"final_norm": NO_NORM}),
    "sandwich norms": changed(after=Norm(), outer=Norm(kind="layer"), stack={"embedding_norm": LAYER_NORM}),
    "learned positions": changed(stack={"position": Position(kind="learned")}),
    "sinusoidal positions": changed(stack={"position": Position(kind="sinusoidal", base=100.0)}),
    "no positions": changed(stack={"position": Position(kind="none")}),
    "positions by layer": mixed_positions(),
    **{
        f"{kind} rope_scaling": changed(
            stack={"position": Position(base=100.0, rope_scaling=RopeScaling(kind=kind, factor=4.0, **more))}
        )
        for kind, more in {
            "linear": {"original_context": 8},
            "dynamic": {"original_context": 3},
            "frequency_bands": {"original_context": 40},
            "yarn": {"original_context": 40, "low_frequency": 1.0, "high_frequency": 32.0, "attention_factor": 1.2},
        }.items()
    },
    "sinks": changed(attention={"sinks": True}),
    "limits": changed(feed_forward={"limit": 0.4, "up_offset": 1.0, "bias": True}),
    "experts": changed(feed_forward={"experts": Experts(count=4, experts_per_token=2)}),
    "plain experts with biases": changed(
        feed_forward={"experts": Experts(count=3, experts_per_token=3, normalize_weights=False, router_bias=True)}
        | {"gated": False, "bias": True}
    ),
    "limited experts": changed(
        feed_forward={
            "experts": Experts(count=5, experts_per_token=1, normalize_weights=False),
            "limit": 0.5,
            "up_offset": 1.0,
            "bias": True,
        }
    ),
    "relative positions": changed(stack={"position": Position(kind="relative", buckets=5, max_distance=6)}),
    "concatenated": changed(stack={"position": Position(kind="sinusoidal", concatenated=True, offset=2)}),
    "untied": changed(model={"tied_embeddings": False}),
    "logits": changed(model={"logit_scale": 0.5, "logit_bias": True, "logit_softcap": 3.0, "embedding_scale": 4.0}),
    **{
        f"{activation}{' gated' if gated else ''}": changed(feed_forward={"activation": activation, "gated": gated})
        for activation in ("relu", "gelu", "gelu_tanh", "gelu_sigmoid", "silu", "relu_squared")
        for gated in (False, True)
    },
}


@torch.no_grad()
def traced(model, tokens, **arguments):
    """A trace of one pass over a prompt, or a source and a target, with the choice of the next token."""
    with trace(model) as recorded:
        logits = model(tokens, **arguments)
        note("choice", note("probabilities", logits[:, -1].softmax(-1)).argmax(-1))
    return recorded


def plain(spec):
    """Two rows without padding."""
    model = build(spec)
    if spec.encoder is not None:
        return model, traced(model, some_tokens(2, 7), source=some_source(2, 6))
    return model, traced(model, some_tokens(2, 7))


def padded(spec):
    """Rows padded left and right."""
    model = build(spec)
    real = torch.tensor([[False, False, True, True, True, True], [True, True, True, True, True, False]])
    return model, traced(model, some_tokens(2, 6), positions=positions_of(real))


def documents(spec):
    """Two documents in a row; in the second row they share a beginning."""
    model = build(spec)
    of_tokens = torch.tensor([[0, 0, 0, 1, 1, 1, 1], [SHARED_PREFIX, SHARED_PREFIX, 0, 0, 1, 1, 1]])
    return model, traced(model, some_tokens(2, 7), documents=of_tokens)


@torch.no_grad()
def cached(spec, length=1):
    """Some new tokens after five in a cache, the logits of the last alone."""
    model, tokens = build(spec), some_tokens(2, 5 + length)
    cache = KVCache(len(spec.decoder.blocks))
    model(tokens[:, :5], cache=cache)
    return model, traced(model, tokens[:, 5:], cache=cache, last_only=True)


@torch.no_grad()
def cached_padded(spec):
    """Two steps after a left-padded prompt."""
    model, tokens = build(spec), some_tokens(2, 7)
    real = torch.ones(2, 7, dtype=torch.bool)
    real[0, :2] = False
    positions, cache = positions_of(real), KVCache(len(spec.decoder.blocks))
    model(tokens[:, :5], positions=positions[:, :5], cache=cache)
    return model, traced(model, tokens[:, 5:], positions=positions[:, 5:], cache=cache)


RUNS = {
    "plain": plain,
    "padded": padded,
    "documents": documents,
    "one cached step": cached,
    "two cached steps": lambda spec: cached(spec, length=2),
    "cached after padding": cached_padded,
}


def padded_pairs(spec):
    """Sources and targets of unequal lengths."""
    model = build(spec)
    real_source = torch.tensor([[True] * 5, [True, True, False, False, False]])
    real = torch.tensor([[False, False, True, True], [True, True, True, True]])
    positions = {"source_positions": positions_of(real_source), "positions": positions_of(real)}
    return model, traced(model, some_tokens(2, 4), source=some_source(2, 5), **positions)


@torch.no_grad()
def cached_target(spec):
    """Two target tokens after three, the source in the cache, the logits of the last alone."""
    model, tokens = build(spec), some_tokens(2, 5)
    cache = KVCache(len(spec.decoder.blocks))
    model(tokens[:, :3], source=some_source(2, 5), cache=cache)
    return model, traced(model, tokens[:, 3:], cache=cache, last_only=True)


TRANSLATED = {"plain": plain, "padded pairs": padded_pairs, "cached target": cached_target}
