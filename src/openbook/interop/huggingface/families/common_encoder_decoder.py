"""What the encoder-decoder families that descend from fairseq share: biases everywhere, LayerNorm, the same fields.

A family reads and writes with these, and has code only where it differs.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from openbook.interop.huggingface.families.common import ACTIVATION_WORDS, ACTIVATIONS, read_layers
from openbook.interop.huggingface.fields import ConfigFields
from openbook.interop.huggingface.tensor_mapping import (
    KeyTable,
    NoCounterpartError,
    TensorLayout,
    TensorMapping,
    after_unused_rows,
)
from openbook.model_file.header import Shape
from openbook.transformer.architecture import (
    NO_NORM,
    Architecture,
    Attention,
    Block,
    FeedForward,
    Norm,
    Position,
    Stack,
)

ABSENT: Mapping[str, Any] = {
    "d_model": 1024,
    "max_position_embeddings": 1024,
    "activation_function": "gelu",
    "scale_embedding": False,
    **{
        f"{side}_{name}": value
        for side in ("encoder", "decoder")
        for name, value in {"layers": 12, "attention_heads": 16, "ffn_dim": 4096}.items()
    },
}
"""What absent fields mean in most of these families."""

NORM = Norm(kind="layer", epsilon=1e-5, bias=True)


@dataclass(frozen=True, kw_only=True)
class Variant:
    """Where these families differ.

    Attributes:
        pre_norm: norms stand before the sublayers, and one more at the end; otherwise after each sum.
        embedding_norm: the embeddings are normalized.
        position: width → the kind of positions.
        logit_bias: each token has a bias in the logits.
    """

    pre_norm: bool
    embedding_norm: bool
    position: Callable[[int], Position]
    logit_bias: bool


def read_encoder_decoder(config: ConfigFields, variant: Variant) -> Architecture:
    """Read the fields that these families have."""
    width = config.integer("d_model")
    config.only("is_encoder_decoder", True)
    config.only("tie_word_embeddings", True)
    config.only("normalize_before", variant.pre_norm)
    config.only("add_final_layer_norm", variant.pre_norm)
    config.only("normalize_embedding", variant.embedding_norm)
    config.only("static_position_embeddings", variant.position(width).kind == "sinusoidal")
    config.only("add_bias_logits", False, variant.logit_bias)
    config.only("extra_pos_embeddings", 2)
    config.ignore("num_hidden_layers", "max_length", "force_bos_token_to_be_generated")
    activation = config.choice("activation_function", ACTIVATIONS)
    scaled = config.boolean("scale_embedding", False)
    encoder, decoder = (_stack(config, variant, width, side, activation) for side in ("encoder", "decoder"))
    return Architecture(
        vocab_size=config.integer("vocab_size"),
        width=width,
        context=config.integer("max_position_embeddings"),
        encoder=encoder,
        decoder=decoder,
        tied_embeddings=True,
        embedding_scale=width**0.5 if scaled else 1.0,
        logit_bias=variant.logit_bias,
    )


def _stack(config: ConfigFields, variant: Variant, width: int, side: str, activation: str) -> Stack:
    heads = config.integer(f"{side}_attention_heads")
    if not heads or width % heads:
        raise config.error("d_model", f"{width} is not a multiple of {side}_attention_heads, {heads}")
    attention = Attention(heads=heads, key_value_heads=heads, head_width=width // heads, bias=True, output_bias=True)
    block = Block(
        attention=attention,
        cross_attention=attention if side == "decoder" else None,
        feed_forward=FeedForward(
            width=config.integer(f"{side}_ffn_dim"),
            activation=activation,  # type: ignore[arg-type]
            gated=False,
            bias=True,
        ),
        before=NORM if variant.pre_norm else NO_NORM,
        outer=NO_NORM if variant.pre_norm else NORM,
    )
    return Stack(
        blocks=read_layers(config, f"{side}_layers") * (block,),
        position=variant.position(width),
        embedding_norm=NORM if variant.embedding_norm else NO_NORM,
        final_norm=NORM if variant.pre_norm else NO_NORM,
    )


def write_encoder_decoder(architecture: Architecture, variant: Variant) -> dict[str, Any]:
    """The fields of `read_encoder_decoder`."""
    if architecture.encoder is None:
        raise NoCounterpartError("it has no encoder")
    written: dict[str, Any] = {
        "is_encoder_decoder": True,
        "vocab_size": architecture.vocab_size,
        "d_model": architecture.width,
        "max_position_embeddings": architecture.context,
        "scale_embedding": architecture.embedding_scale != 1.0,
        "activation_function": ACTIVATION_WORDS[architecture.encoder.blocks[0].feed_forward.activation],
        "num_hidden_layers": len(architecture.encoder.blocks),
    }
    for side, stack in architecture.stacks.items():
        first = stack.blocks[0]
        written[f"{side}_layers"] = len(stack.blocks)
        written[f"{side}_attention_heads"] = first.attention.heads
        written[f"{side}_ffn_dim"] = first.feed_forward.width
    return written


def encoder_decoder_table(variant: Variant) -> dict[str, str | TensorLayout]:
    """The key table of these families."""
    place = "before" if variant.pre_norm else "outer"
    table: dict[str, str | TensorLayout] = {
        "token_embedding": "model.shared",
        "to_logits": _final_bias,
    }
    for side in ("encoder", "decoder"):
        ours, theirs = f"{side}.blocks.#", f"model.{side}.layers.#"
        table |= {
            f"{side}.position": after_unused_rows(f"model.{side}.embed_positions", 2),
            f"{side}.embedding_norm": f"model.{side}.layernorm_embedding",
            f"{side}.final_norm": f"model.{side}.layer_norm",
            f"{ours}.self_attention_residual.{place}": f"{theirs}.self_attn_layer_norm",
            f"{ours}.cross_attention_residual.{place}": f"{theirs}.encoder_attn_layer_norm",
            f"{ours}.feed_forward_residual.{place}": f"{theirs}.final_layer_norm",
            f"{ours}.feed_forward.up": f"{theirs}.fc1",
            f"{ours}.feed_forward.down": f"{theirs}.fc2",
        }
        for name, word in (("query", "q_proj"), ("key", "k_proj"), ("value", "v_proj"), ("output", "out_proj")):
            table[f"{ours}.self_attention.{name}"] = f"{theirs}.self_attn.{word}"
            table[f"{ours}.cross_attention.{name}"] = f"{theirs}.encoder_attn.{word}"
    return table


def with_embedding_names(table: KeyTable) -> list[KeyTable]:
    """The table with each name that the shared embedding may be saved under."""
    names = ("model.shared", "model.decoder.embed_tokens", "model.encoder.embed_tokens")
    return [{**table, "token_embedding": name} for name in names]


def _final_bias(ours: str, leaf: str, shape: Shape) -> list[TensorMapping]:
    """The bias of the logits is a (1, V) tensor; a file without it means zeros."""
    if leaf != "bias":
        raise NoCounterpartError(f"it has no tensor for {ours}")
    return [TensorMapping(ours, "final_logits_bias", their_index=(0,), optional=True)]


TIED_COPIES = (
    "model.shared.weight",
    "model.encoder.embed_tokens.weight",
    "model.decoder.embed_tokens.weight",
    "lm_head.weight",
)
VERSIONS = r"model\.(en|de)coder\.version"
SINUSOIDS = rf"{VERSIONS}|model\.(en|de)coder\.embed_positions\.weights?"
"""Tensors of sinusoidal positions, which are computed here."""
