"""What the encoder-decoder families that came from one toolkit share: biases everywhere, LayerNorm, one word for all.

A family reads and writes with these and says only where it differs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from openbook.interop.huggingface.families.common import ACTIVATION_WORDS, ACTIVATIONS, read_layers
from openbook.interop.huggingface.fields import Fields
from openbook.interop.huggingface.tensor_mapping import Layout, Link, NoPlaceError, Shape, Table, shifted
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

NORM = Norm(kind="layer", epsilon=1e-5, bias=True)


@dataclass(frozen=True, kw_only=True)
class Kind:
    """Where such families differ.

    Attributes:
        pre: whether the norms stand before the sublayers, and one more at the end.
        embedding_norm: whether the embeddings are normalised.
        position: width → how the order is known.
        logit_bias: whether each token has a bias.
        activation: where no field says it.
        scale: whether embeddings are scaled by √width, where no field says it.
    """

    pre: bool
    embedding_norm: bool
    position: Callable[[int], Position]
    logit_bias: bool
    activation: str = "gelu"
    scale: bool = False


def read_pair(fields: Fields, kind: Kind) -> Architecture:
    """Read the fields that these families have."""
    width = fields.whole("d_model", 1024)
    fields.only("is_encoder_decoder", True)
    fields.only("tie_word_embeddings", True)
    fields.only("normalize_before", kind.pre)
    fields.only("add_final_layer_norm", kind.pre)
    fields.only("normalize_embedding", kind.embedding_norm)
    fields.only("static_position_embeddings", kind.position(width).kind == "sinusoidal")
    fields.only("add_bias_logits", False, kind.logit_bias)
    fields.only("extra_pos_embeddings", 2)
    fields.ignore("num_hidden_layers", "max_length", "force_bos_token_to_be_generated")
    activation = fields.choice("activation_function", ACTIVATIONS, kind.activation)
    scaled = fields.flag("scale_embedding", kind.scale)
    encoder, decoder = (_stack(fields, kind, width, side, activation) for side in ("encoder", "decoder"))
    return Architecture(
        vocab_size=fields.whole("vocab_size"),
        width=width,
        context=fields.whole("max_position_embeddings", 1024),
        encoder=encoder,
        decoder=decoder,
        tied_embeddings=True,
        embedding_scale=width**0.5 if scaled else 1.0,
        logit_bias=kind.logit_bias,
    )


def _stack(fields: Fields, kind: Kind, width: int, side: str, activation: str) -> Stack:
    heads = fields.whole(f"{side}_attention_heads", 16)
    if not heads or width % heads:
        raise fields.fault("d_model", f"{width} is not a multiple of {side}_attention_heads, {heads}")
    attention = Attention(heads=heads, key_value_heads=heads, head_width=width // heads, bias=True, output_bias=True)
    block = Block(
        attention=attention,
        cross_attention=attention if side == "decoder" else None,
        feed_forward=FeedForward(
            width=fields.whole(f"{side}_ffn_dim", 4096),
            activation=activation,  # type: ignore[arg-type]
            gated=False,
            bias=True,
        ),
        before=NORM if kind.pre else NO_NORM,
        outer=NO_NORM if kind.pre else NORM,
    )
    return Stack(
        blocks=read_layers(fields, f"{side}_layers") * (block,),
        position=kind.position(width),
        embedding_norm=NORM if kind.embedding_norm else NO_NORM,
        final_norm=NORM if kind.pre else NO_NORM,
    )


def write_tokenizer_pair(architecture: Architecture, kind: Kind) -> dict[str, Any]:
    """The fields of `read_pair`."""
    if architecture.encoder is None:
        raise NoPlaceError("it has no encoder")
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


def pair_table(kind: Kind) -> dict[str, str | Layout]:
    """The key table of these families."""
    place = "before" if kind.pre else "outer"
    table: dict[str, str | Layout] = {
        "token_embedding": "model.shared",
        "to_logits": _final_bias,
    }
    for side in ("encoder", "decoder"):
        ours, theirs = f"{side}.blocks.#", f"model.{side}.layers.#"
        table |= {
            f"{side}.position": shifted(f"model.{side}.embed_positions", 2),
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


def spellings(table: Table) -> list[Table]:
    """The one embedding may be saved under any of its names."""
    names = ("model.shared", "model.decoder.embed_tokens", "model.encoder.embed_tokens")
    return [{**table, "token_embedding": name} for name in names]


def _final_bias(ours: str, leaf: str, shape: Shape) -> list[Link]:
    """A row of its own; files that leave it out mean zeros."""
    if leaf != "bias":
        raise NoPlaceError(f"there is no place for {ours}")
    return [Link(ours, "final_logits_bias", theirs_at=(0,), optional=True)]


COPIES = (
    "model.shared.weight",
    "model.encoder.embed_tokens.weight",
    "model.decoder.embed_tokens.weight",
    "lm_head.weight",
)
VERSIONS = r"model\.(en|de)coder\.version"
WAVES = rf"{VERSIONS}|model\.(en|de)coder\.embed_positions\.weights?"
"""Tensors that hold only what is worked out from the position."""
