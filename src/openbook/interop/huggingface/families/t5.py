"""T5, T5 v1.1 (Flan) and mT5: relative positions, unscaled scores, RMSNorm, no biases.

The first ones tie the logits to the embedding and scale them; the later ones have a matrix of their own and a gate, as
translators trained here.
"""

from dataclasses import replace
from typing import Any

from openbook.interop.huggingface.families.common import read_layers
from openbook.interop.huggingface.family import Family
from openbook.interop.huggingface.fields import Fields
from openbook.interop.huggingface.tensor_mapping import Layout, NoPlaceError, Table
from openbook.interop.huggingface.weights import Weights
from openbook.interop.tokenizers import LegacyLayout
from openbook.transformer.architecture import Architecture, Attention, Block, FeedForward, Norm, Position, Stack

PARTS = {
    "relu": (False, "relu"),
    "silu": (False, "silu"),
    "gelu": (False, "gelu"),
    "gelu_new": (False, "gelu_tanh"),
    "gated-relu": (True, "relu"),
    "gated-silu": (True, "silu"),
    "gated-gelu": (True, "gelu_tanh"),
    "gated-gelu_new": (True, "gelu_tanh"),
}
"""`feed_forward_proj` → whether it is gated, and its activation; gated-gelu means the form with tanh."""


def read(fields: Fields) -> Architecture:
    """The logits' matrix is told by the tensors, see `adapt`; the scale of the logits by `tie_word_embeddings`."""
    width, heads = fields.whole("d_model", 512), fields.whole("num_heads", 8)
    fields.only("is_encoder_decoder", True)
    fields.ignore("dense_act_fn", "is_gated_act", "num_hidden_layers")  # these repeat feed_forward_proj and num_layers
    gated, activation = fields.choice("feed_forward_proj", PARTS, "relu")
    layers = read_layers(fields, "num_layers")
    norm = Norm(epsilon=fields.number("layer_norm_epsilon", 1e-6))
    attention = Attention(heads=heads, key_value_heads=heads, head_width=fields.whole("d_kv", 64), scale=1.0)
    block = Block(
        attention=attention,
        feed_forward=FeedForward(
            width=fields.whole("d_ff", 2048),
            activation=activation,  # type: ignore[arg-type]
            gated=gated,
        ),
        before=norm,
    )
    position = Position(
        kind="relative",
        buckets=fields.whole("relative_attention_num_buckets", 32),
        max_distance=fields.whole("relative_attention_max_distance", 128),
    )
    written = read_layers(fields, "num_decoder_layers") if "num_decoder_layers" in fields else layers
    tied = fields.flag("tie_word_embeddings", True)
    return Architecture(
        vocab_size=fields.whole("vocab_size", 32128),
        width=width,
        context=fields.whole("n_positions", 512),
        encoder=Stack(blocks=layers * (block,), position=position, final_norm=norm),
        decoder=Stack(
            blocks=written * (replace(block, cross_attention=attention),), position=position, final_norm=norm
        ),
        tied_embeddings=tied,
        logit_scale=width**-0.5 if fields.flag("scale_decoder_outputs", tied) else 1.0,
    )


def read_multilingual(fields: Fields) -> Architecture:
    """Gated where the file does not say; the logits are never scaled, even by files that call them tied."""
    return replace(read(fields.with_default("feed_forward_proj", "gated-gelu")), logit_scale=1.0)


def adapt(architecture: Architecture, weights: Weights) -> Architecture:
    """Newer programs write tie_word_embeddings as true in any case: a matrix that differs is not tied."""
    own, shared = "lm_head.weight", "shared.weight"
    tied = own not in weights or (shared in weights and weights.same(own, shared))
    return replace(architecture, tied_embeddings=tied)


def write(architecture: Architecture) -> dict[str, Any]:
    """The fields of `read`."""
    encoder, decoder = architecture.encoder, architecture.decoder
    if encoder is None:
        raise NoPlaceError("it has no encoder")
    first = encoder.blocks[0]
    kind = (first.feed_forward.gated, first.feed_forward.activation)
    word = next((word for word, part in PARTS.items() if part == kind), None)
    if word is None:
        raise NoPlaceError(f"it has the activation {kind[1]}")
    return {
        "is_encoder_decoder": True,
        "vocab_size": architecture.vocab_size,
        "d_model": architecture.width,
        "d_kv": first.attention.head_width,
        "d_ff": first.feed_forward.width,
        "num_layers": len(encoder.blocks),
        "num_decoder_layers": len(decoder.blocks),
        "num_heads": first.attention.heads,
        "relative_attention_num_buckets": encoder.position.buckets,
        "relative_attention_max_distance": encoder.position.max_distance,
        "layer_norm_epsilon": encoder.final_norm.epsilon,
        "feed_forward_proj": word,
        "n_positions": architecture.context,
        "tie_word_embeddings": architecture.tied_embeddings,
        "scale_decoder_outputs": architecture.logit_scale != 1.0,
    }


def _attention(ours: str, theirs: str) -> dict[str, str]:
    return {f"{ours}.{name}": f"{theirs}.{name[0]}" for name in ("query", "key", "value", "output")}


def tables(architecture: Architecture) -> list[Table]:
    """A gated part has two matrices in place of one."""
    gated = architecture.decoder.blocks[0].feed_forward.gated
    table: dict[str, str | Layout] = {"token_embedding": "shared", "to_logits": "lm_head"}
    for stack, last in (("encoder", 1), ("decoder", 2)):
        ours, theirs = f"{stack}.blocks.#", f"{stack}.block.#.layer"
        table |= {
            f"{stack}.position": f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias",
            f"{stack}.final_norm": f"{stack}.final_layer_norm",
            **_attention(f"{ours}.self_attention", f"{theirs}.0.SelfAttention"),
            **_attention(f"{ours}.cross_attention", f"{theirs}.1.EncDecAttention"),
            f"{ours}.self_attention_residual.before": f"{theirs}.0.layer_norm",
            f"{ours}.cross_attention_residual.before": f"{theirs}.1.layer_norm",
            f"{ours}.feed_forward_residual.before": f"{theirs}.{last}.layer_norm",
            f"{ours}.feed_forward.gate": f"{theirs}.{last}.DenseReluDense.wi_0",
            f"{ours}.feed_forward.up": f"{theirs}.{last}.DenseReluDense.{'wi_1' if gated else 'wi'}",
            f"{ours}.feed_forward.down": f"{theirs}.{last}.DenseReluDense.wo",
        }
    return [table | {"token_embedding": name} for name in ("shared", "decoder.embed_tokens", "encoder.embed_tokens")]


COPIES = ("shared.weight", "encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight")
UNUSED = r"decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight"

FAMILY = Family(
    name="T5",
    model_types=("t5",),
    class_name="T5ForConditionalGeneration",
    read=read,
    adapt=adapt,
    write=write,
    tables=tables,
    ignored=UNUSED,
    tied_copies=COPIES,
    tokenizer=LegacyLayout(last=tuple(f"<extra_id_{number}>" for number in range(99, -1, -1))),
)
MULTILINGUAL = replace(
    FAMILY,
    name="mT5",
    model_types=("mt5",),
    class_name="MT5ForConditionalGeneration",
    read=read_multilingual,
    tokenizer=LegacyLayout(),
)
