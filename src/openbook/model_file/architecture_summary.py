"""A summary of an architecture for people, one line for each aspect."""

from collections.abc import Callable, Iterable, Mapping

from openbook.errors import OpenbookError
from openbook.text.formatting import format_count
from openbook.transformer.architecture import Architecture, Attention, Block, FeedForward, Norm, Position, Stack

_NORMS = {"rms": "RMSNorm", "layer": "LayerNorm"}
_ACTIVATIONS = {
    "relu": "ReLU",
    "gelu": "GELU",
    "gelu_tanh": "GELU (tanh)",
    "gelu_sigmoid": "GELU (sigmoid)",
    "silu": "SiLU",
    "relu_squared": "ReLU²",
}
_GATED = {
    "relu": "ReGLU",
    "gelu": "GeGLU",
    "gelu_tanh": "GeGLU (tanh)",
    "gelu_sigmoid": "GeGLU (sigmoid)",
    "silu": "SwiGLU",
    "relu_squared": "gated ReLU²",
}


def check_kind(architecture: Architecture, *, encoder_decoder: bool, purpose: str) -> None:
    """Raise OpenbookError if the model is of the other kind; `purpose` names what then cannot be done."""
    if encoder_decoder and not architecture.is_encoder_decoder:
        raise OpenbookError(f"{purpose} takes an encoder-decoder, and this model is decoder-only")
    if architecture.is_encoder_decoder and not encoder_decoder:
        raise OpenbookError(f"{purpose} takes a decoder-only model, and this one is an encoder-decoder")


def summarize(architecture: Architecture) -> dict[str, str]:
    """Aspect → one line. Where blocks or stacks differ, the line says which blocks or stack each phrase describes."""
    a, stacks = architecture, architecture.stacks
    layers = {name: format_count(len(s.blocks), "block") for name, s in stacks.items()}
    kind = f"decoder-only, {layers['decoder']}"
    if a.encoder is not None:
        kind = f"encoder-decoder, {layers['encoder']} in the encoder, {layers['decoder']} in the decoder"
    vocabulary = f"vocabulary {a.vocab_size:,}"
    if a.source_vocab_size is not None:
        vocabulary += f", {a.source_vocab_size:,} in sources"
    summary = {
        "model": f"{kind}, width {a.width:,}, {vocabulary}",
        "context": f"{format_count(a.context, 'token')}",
        "embedding": _join(
            "tied to the logits" if a.tied_embeddings else "its own matrix",
            "another for sources" if a.source_vocab_size is not None else "the same for sources" if a.encoder else None,
            f"times {a.embedding_scale:g}" if a.embedding_scale != 1 else None,
            _by_stack(stacks, lambda stack: _placed(stack.embedding_norm, "on it")),
        ),
        "position": _by_stack(
            stacks,
            lambda stack: _by_block(stack.blocks, lambda block: _position(block.position or stack.position)),
        ),
        "attention": _by_stack(
            stacks, lambda stack: _by_block(stack.blocks, lambda block: _attention(block.attention))
        ),
    }
    if a.encoder is not None:
        summary["cross-attention"] = _by_block(
            a.decoder.blocks, lambda block: _attention(block.cross_attention) if block.cross_attention else "none"
        )
    return summary | {
        "feed-forward": _by_stack(
            stacks, lambda stack: _by_block(stack.blocks, lambda block: _feed_forward(block.feed_forward))
        ),
        "norms": _by_stack(
            stacks, lambda stack: _join(_by_block(stack.blocks, _norms), _placed(stack.final_norm, "at the end"))
        )
        or "none",
        "logits": _join(
            "the embedding's matrix" if a.tied_embeddings else "their own matrix",
            "bias" if a.logit_bias else None,
            f"times {a.logit_scale:g}" if a.logit_scale != 1 else None,
            f"soft cap {a.logit_softcap:g}" if a.logit_softcap is not None else None,
        ),
    }


def ranges(numbers: Iterable[int]) -> str:
    """[0, 1, 2, 5] → "0–2, 5"; ascending numbers."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}–{run[-1]}" for run in runs)


def _by_stack(stacks: Mapping[str, Stack], phrase: Callable[[Stack], str | None]) -> str:
    """A phrase for each stack, or one where it holds for all."""
    said = {name: phrase(stack) or "" for name, stack in stacks.items()}
    if len(set(said.values())) == 1:
        return next(iter(said.values()))
    return "; ".join(f"{name}: {words or 'none'}" for name, words in said.items())


def _by_block(blocks: tuple[Block, ...], phrase: Callable[[Block], str]) -> str:
    numbers: dict[str, list[int]] = {}
    for number, block in enumerate(blocks):
        numbers.setdefault(phrase(block), []).append(number)
    if len(numbers) == 1:
        return next(iter(numbers))
    return "; ".join(
        f"{'block' if len(those) == 1 else 'blocks'} {ranges(those)}: {words}" for words, those in numbers.items()
    )


def _position(position: Position) -> str:
    match position.kind:
        case "rotary":
            rope_scaling = position.rope_scaling
            scaling = (
                f"{rope_scaling.kind} scaling by {rope_scaling.factor:g} from {rope_scaling.original_context:,} tokens"
                if rope_scaling
                else None
            )
            return _join(f"rotary, base {position.base:,.10g}", scaling)
        case "sinusoidal":
            return _join(
                f"sinusoidal, base {position.base:,.10g}",
                "sines before cosines" if position.concatenated else None,
                f"counted from {position.offset}" if position.offset else None,
            )
        case "relative":
            return f"relative, {format_count(position.buckets, 'bucket')} of distances up to {position.max_distance:,}"
        case _:
            return position.kind


def _attention(attention: Attention) -> str:
    heads, shared, width = attention.heads, attention.key_value_heads, attention.head_width
    return _join(
        f"{format_count(heads, 'head')} of width {width}",
        f"{shared} of keys and values" if shared != heads else None,
        _placed(attention.query_key_norm, "on queries and keys"),
        f"window {attention.window:,}" if attention.window is not None else None,
        f"score scale {attention.scale:g}" if attention.scale is not None else None,
        f"score cap {attention.attention_softcap:g}" if attention.attention_softcap is not None else None,
        "sinks" if attention.sinks else None,
        "no softmax" if attention.attention_function == "none" else None,
        "biases" if attention.bias else None,
        "output bias" if attention.output_bias else None,
    )


def _feed_forward(feed_forward: FeedForward) -> str:
    names = _GATED if feed_forward.gated else _ACTIVATIONS
    experts = feed_forward.experts
    return _join(
        f"{names[feed_forward.activation]} of width {feed_forward.width:,}",
        "biases" if feed_forward.bias else None,
        f"kept within {feed_forward.limit:g}" if feed_forward.limit is not None else None,
        f"up + {feed_forward.up_offset:g}" if feed_forward.up_offset else None,
        f"{format_count(experts.count, 'expert')}, {experts.experts_per_token} of them for each token"
        if experts is not None
        else None,
        "gate weights not normalized" if experts is not None and not experts.normalize_weights else None,
        "router bias" if experts is not None and experts.router_bias else None,
    )


def _norms(block: Block) -> str:
    places = {
        "before each sublayer": block.before,
        "after each sublayer": block.after,
        "after each sum": block.outer,
    }
    return _join(*(_placed(norm, place) for place, norm in places.items()))


def _placed(norm: Norm, place: str) -> str | None:
    if norm.kind == "none":
        return None
    return f"{_NORMS[norm.kind]} {place}" + (f" ({norm.offset:g} + weight)" if norm.offset else "")


def _join(*phrases: str | None) -> str:
    return ", ".join(phrase for phrase in phrases if phrase)
