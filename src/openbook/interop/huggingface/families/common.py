"""What most decoder-only families share: RMSNorm before each sublayer, rotary positions, grouped heads, a gated MLP.

A family reads and writes with these, and has code only where it differs.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from openbook.interop.huggingface.families.rotary import read_rotary, write_rotary
from openbook.interop.huggingface.fields import ConfigFields
from openbook.interop.huggingface.tensor_mapping import KeyTable, NoCounterpartError, TensorLayout, prefixed
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
"""Their words for activations → ours."""

ACTIVATION_WORDS = {
    "silu": "silu",
    "gelu": "gelu",
    "gelu_tanh": "gelu_pytorch_tanh",
    "relu": "relu",
    "relu_squared": "relu2",
    "gelu_sigmoid": "quick_gelu",
}
"""Our words for activations → theirs in an export."""

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


def table(changes: Mapping[str, str | TensorLayout] | None = None, prefix: str = "model.") -> KeyTable:
    """The key table of most families; `changes` replace or add modules of a block."""
    block = {**BLOCK, **(changes or {})}
    return {
        "token_embedding": f"{prefix}embed_tokens",
        "decoder.final_norm": f"{prefix}norm",
        "to_logits": "lm_head",
        **{f"decoder.blocks.#.{ours}": prefixed(f"{prefix}layers.#.", theirs) for ours, theirs in block.items()},
    }


ABSENT: Mapping[str, Any] = {
    "hidden_act": "silu",
    "rms_norm_eps": 1e-6,
    "rope_theta": 10_000.0,
    "tie_word_embeddings": False,
}
"""What absent fields mean in most families."""


@dataclass(frozen=True, kw_only=True)
class Traits:
    """What a family always has, whatever its config.json says.

    Attributes:
        norm_offset: what is added to the norms' weights.
        activation_field: the name of the field with the activation.
        activations: their words for activations → ours.
    """

    norm_offset: float = 0.0
    activation_field: str = "hidden_act"
    activations: Mapping[str, str] = field(default_factory=lambda: ACTIVATIONS)


def read_common(
    config: ConfigFields,
    traits: Traits,
    *,
    attention: Mapping[str, Any] | None = None,
    feed_forward: Mapping[str, Any] | None = None,
    windows: Sequence[int | None] | None = None,
    positions: Sequence[Position] | None = None,
    change: Callable[[int, Block], Block] = lambda number, block: block,
) -> Architecture:
    """Read the fields that most families have.

    Args:
        config: the config.
        traits: the family's.
        attention: arguments of `Attention` beyond the common ones.
        feed_forward: arguments of `FeedForward` beyond the common ones.
        windows: one for each layer.
        positions: one for each layer; read from the fields if None.
        change: a block's number and the block that the common fields describe → the family's block.
    """
    layers, width = read_layers(config), config.integer("hidden_size")
    context, norm = config.integer("max_position_embeddings"), read_norm(config, traits)
    rotary = positions or layers * [read_rotary(config, context)]
    common = _read_attention(config, width, attention or {})
    hidden = FeedForward(
        width=config.integer("intermediate_size"),
        activation=config.choice(traits.activation_field, traits.activations),  # type: ignore[arg-type]
        **(feed_forward or {}),
    )
    blocks = []
    for number in range(layers):
        window = None if windows is None else windows[number]
        block = Block(
            attention=common if window is None else replace(common, window=window),
            feed_forward=hidden,
            before=norm,
            position=None if rotary[number] == stack_position(rotary) else rotary[number],
        )
        blocks.append(change(number, block))
    return Architecture(
        vocab_size=config.integer("vocab_size"),
        width=width,
        context=context,
        decoder=Stack(blocks=tuple(blocks), position=stack_position(rotary), final_norm=norm),
        tied_embeddings=config.boolean("tie_word_embeddings", False),
    )


def read_norm(config: ConfigFields, traits: Traits) -> Norm:
    """The RMSNorm of a model."""
    return Norm(epsilon=config.number("rms_norm_eps"), offset=traits.norm_offset)


def _read_attention(config: ConfigFields, width: int, more: Mapping[str, Any]) -> Attention:
    heads = config.integer("num_attention_heads")
    head_width = config.optional_integer("head_dim")
    if head_width is None and (not heads or width % heads):
        raise config.error("hidden_size", f"{width} is not a multiple of num_attention_heads, {heads}")
    groups = config.optional_integer("num_key_value_heads")
    return Attention(
        heads=heads,
        key_value_heads=config.assume("num_key_value_heads", heads) if groups is None else groups,
        head_width=config.assume("head_dim", width // heads) if head_width is None else head_width,
        **more,
    )


def sandwich(number: int, block: Block) -> Block:
    """A block with the same norm after each sublayer as before it."""
    return replace(block, after=block.before)


def stack_position(positions: Sequence[Position]) -> Position:
    """What most layers have, which the stack names; of equally many, the last layer's."""
    return max(reversed(positions), key=positions.count) if positions else Position()


def read_layers(config: ConfigFields, name: str = "num_hidden_layers") -> int:
    """How many blocks there are."""
    layers = config.integer(name, most=MAXIMUM_LAYERS)
    if not layers:
        raise config.error(name, "should be 1 at least")
    return layers


WITHOUT_SIZE = "names layers with a window, but sliding_window is null; set its size"


def read_windows(
    config: ConfigFields, default: Sequence[bool], size: int | None, without: str = WITHOUT_SIZE
) -> list[int | None]:
    """Each layer's window, by `layer_types`, or where the default says True; `without` is the error of no size."""
    kinds = config.strings("layer_types", len(default))
    if kinds is None:
        return [size if windowed else None for windowed in default]
    for kind in kinds:
        if kind not in ("sliding_attention", "full_attention"):
            raise config.error("layer_types", f"{kind[:40]} is not one of sliding_attention, full_attention")
    if size is None and "sliding_attention" in kinds:
        raise config.error("layer_types", without)
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
    """The feed-forward part that has experts, and they. Raises NoCounterpartError where there is none."""
    for block in architecture.decoder.blocks:
        if block.feed_forward.experts is not None:
            return block.feed_forward, block.feed_forward.experts
    raise NoCounterpartError("its feed-forward parts have no experts")


def refuses_uneven_heads(architecture: Architecture) -> str | None:
    """Some configurations of transformers want whole heads in the width, even where heads have a width of their own."""
    heads = architecture.decoder.blocks[0].attention.heads
    if architecture.width % heads == 0:
        return None
    return f"hidden_size {architecture.width} is not a multiple of num_attention_heads, {heads}"


def write_experts_implementation(architecture: Architecture) -> dict[str, Any]:
    """transformers multiplies experts in groups of 16 bytes, unless config.json says otherwise."""
    mixed, _ = experts_of(architecture)
    return {} if architecture.width % 8 == mixed.width % 8 == 0 else {"experts_implementation": "eager"}


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
