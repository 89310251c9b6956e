"""What most decoder-only families share: pre-norm RMSNorm, rotary positions, grouped heads, a gated feed-forward part.

A family reads and writes with these and says only where it differs.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from openbook.interop.huggingface.families.rotary import read_rotary, write_rotary
from openbook.interop.huggingface.fields import Fields
from openbook.interop.huggingface.tensor_mapping import Layout, NoPlaceError
from openbook.transformer.architecture import (
    MAXIMUM_LAYERS,
    Architecture,
    Attention,
    Block,
    Experts,
    FeedForward,
    Norm,
    Position,
    Stack,
)

ACTIVATIONS = {
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
    "relu2": "relu_squared",
    "quick_gelu": "gelu_sigmoid",
}
"""Their words for activations, and ours."""

ACTIVATION_WORDS = {
    "silu": "silu",
    "gelu": "gelu",
    "gelu_tanh": "gelu_pytorch_tanh",
    "relu": "relu",
    "relu_squared": "relu2",
    "gelu_sigmoid": "quick_gelu",
}
"""Our words, and those that an export takes."""

BLOCK = {
    "self_attention.query": "self_attn.q_proj",
    "self_attention.key": "self_attn.k_proj",
    "self_attention.value": "self_attn.v_proj",
    "self_attention.output": "self_attn.o_proj",
    "self_attention.query_norm": "self_attn.q_norm",
    "self_attention.key_norm": "self_attn.k_norm",
    "feed_forward.gate": "mlp.gate_proj",
    "feed_forward.up": "mlp.up_proj",
    "feed_forward.down": "mlp.down_proj",
    "self_attention_residual.before": "input_layernorm",
    "feed_forward_residual.before": "post_attention_layernorm",
}
SANDWICH = {
    "self_attention_residual.after": "post_attention_layernorm",
    "feed_forward_residual.before": "pre_feedforward_layernorm",
    "feed_forward_residual.after": "post_feedforward_layernorm",
}


def table(changes: Mapping[str, str | Layout] | None = None, prefix: str = "model.") -> dict[str, str | Layout]:
    """The key table of most families; `changes` are for the modules of a block, in place of `BLOCK`'s or besides."""
    block: dict[str, str | Layout] = {**BLOCK, **(changes or {})}
    whole: dict[str, str | Layout] = {
        "token_embedding": f"{prefix}embed_tokens",
        "decoder.final_norm": f"{prefix}norm",
        "to_logits": "lm_head",
    }
    within = f"{prefix}layers.#."
    return whole | {
        f"decoder.blocks.#.{ours}": within + theirs if isinstance(theirs, str) else _within(theirs, within)
        for ours, theirs in block.items()
    }


def _within(layout: Layout, prefix: str) -> Layout:
    return lambda ours, leaf, shape: (link.renamed(prefix + link.theirs) for link in layout(ours, leaf, shape))


def read_common(
    fields: Fields,
    *,
    attention: Mapping[str, Any] | None = None,
    feed_forward: Mapping[str, Any] | None = None,
    windows: Sequence[int | None] | None = None,
    positions: Sequence[Position] | None = None,
    norm: Norm | None = None,
    base: float = 10_000.0,
    tied: bool = False,
    groups: int | None = None,
    head_width: int | None = None,
    activation: str = "hidden_act",
    activations: Mapping[str, str] = ACTIVATIONS,
    default_activation: str = "silu",
    context: int | None = None,
    change: Callable[[int, Block], Block] = lambda number, block: block,
) -> Architecture:
    """Read the fields that most families have.

    Args:
        fields: of config.json.
        attention: what differs in `Attention`.
        feed_forward: what differs in `FeedForward`.
        windows: one for each layer.
        positions: one for each layer; read from the fields if None.
        norm: read from `rms_norm_eps` if None.
        base: of rotary positions, where no field says it.
        tied: where no field says it.
        groups: heads of keys and values where no field says it; as many as heads if None.
        head_width: where no field says it; width / heads if None.
        activation: the field's name.
        activations: what its words mean.
        default_activation: its word where it is absent.
        context: where no field says it.
        change: what differs from block to block.
    """
    layers = read_layers(fields)
    width, heads = fields.whole("hidden_size"), fields.whole("num_attention_heads")
    context = fields.whole("max_position_embeddings", context)
    norm = norm or Norm(epsilon=fields.number("rms_norm_eps", 1e-6))
    rotary = positions or layers * [read_rotary(fields, context, base)]
    given = fields.maybe_whole("head_dim") or head_width
    if given is None and (not heads or width % heads):
        raise fields.fault("hidden_size", f"{width} is not a multiple of num_attention_heads, {heads}")
    part = Attention(
        heads=heads,
        key_value_heads=fields.whole("num_key_value_heads", groups or heads),
        head_width=width // heads if given is None else given,
        **(attention or {}),
    )
    hidden = FeedForward(
        width=fields.whole("intermediate_size"),
        activation=fields.choice(activation, activations, default_activation),  # type: ignore[arg-type]
        **(feed_forward or {}),
    )
    blocks = []
    for number in range(layers):
        window = None if windows is None else windows[number]
        block = Block(
            attention=replace(part, window=window) if window is not None else part,
            feed_forward=hidden,
            before=norm,
            position=None if rotary[number] == stack_position(rotary) else rotary[number],
        )
        blocks.append(change(number, block))
    return Architecture(
        vocab_size=fields.whole("vocab_size"),
        width=width,
        context=context,
        decoder=Stack(blocks=tuple(blocks), position=stack_position(rotary), final_norm=norm),
        tied_embeddings=fields.flag("tie_word_embeddings", tied),
    )


def stack_position(positions: Sequence[Position]) -> Position:
    """What most layers have, which the stack names; of equally many, the last layer's."""
    return max(reversed(positions), key=positions.count) if positions else Position()


def read_layers(fields: Fields, name: str = "num_hidden_layers") -> int:
    """How many blocks there are."""
    layers = fields.whole(name, most=MAXIMUM_LAYERS)
    if not layers:
        raise fields.fault(name, "should be 1 at least")
    return layers


def read_windows(fields: Fields, default: Sequence[bool], size: int | None) -> list[int | None]:
    """Each layer's window, by `layer_types`, or where the default says True."""
    kinds = fields.words("layer_types", len(default))
    if kinds is None:
        return [size if windowed else None for windowed in default]
    for kind in kinds:
        if kind not in ("sliding_attention", "full_attention"):
            raise fields.fault("layer_types", f"{kind[:40]} is not one of sliding_attention, full_attention")
    if size is None and "sliding_attention" in kinds:
        raise fields.fault("sliding_window", "is missing, though layer_types names layers that have one")
    return [size if kind == "sliding_attention" else None for kind in kinds]


def layer_types(architecture: Architecture) -> list[str]:
    """What `read_windows` reads."""
    windows = (block.attention.window for block in architecture.decoder.blocks)
    return ["full_attention" if window is None else "sliding_attention" for window in windows]


def window_of(architecture: Architecture) -> int | None:
    """The window of those layers that have one."""
    windows = (block.attention.window for block in architecture.decoder.blocks)
    return next((window for window in windows if window is not None), None)


def experts_of(architecture: Architecture) -> tuple[FeedForward, Experts]:
    """The feed-forward part that has experts, and they. Raises NoPlaceError where there is none."""
    for block in architecture.decoder.blocks:
        if block.feed_forward.experts is not None:
            return block.feed_forward, block.feed_forward.experts
    raise NoPlaceError("its feed-forward parts have no experts")


def write_common(architecture: Architecture) -> dict[str, Any]:
    """The fields that most families have."""
    first = architecture.decoder.blocks[0]
    attention, stack = first.attention, architecture.decoder
    return {
        "vocab_size": architecture.vocab_size,
        "hidden_size": architecture.width,
        "intermediate_size": first.feed_forward.width,
        "num_hidden_layers": len(stack.blocks),
        "num_attention_heads": attention.heads,
        "num_key_value_heads": attention.key_value_heads,
        "head_dim": attention.head_width,
        "max_position_embeddings": architecture.context,
        "rms_norm_eps": stack.final_norm.epsilon,
        "tie_word_embeddings": architecture.tied_embeddings,
        "hidden_act": ACTIVATION_WORDS[first.feed_forward.activation],
        **write_rotary(stack.position),
    }
