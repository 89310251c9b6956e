"""T5, T5 v1.1 (Flan) and mT5: relative positions, unscaled scores, RMSNorm, no biases.

T5 ties the logits to the embedding and scales them. The later ones have a separate matrix and a gate, as translators
trained here do.
"""

from dataclasses import replace
from typing import Any

from openbook.interop.huggingface.families.common import ACTIVATION_WORDS, ACTIVATIONS, read_layers
from openbook.interop.huggingface.family import Family
from openbook.interop.huggingface.fields import ConfigFields
from openbook.interop.huggingface.tensor_mapping import KeyTable, NoCounterpartError, TensorLayout
from openbook.interop.huggingface.weights import TensorSource
from openbook.interop.tokenizers import LegacyLayout
from openbook.transformer.architecture import Architecture, Attention, Block, FeedForward, Norm, Position, Stack

ABSENT = {
    "vocab_size": 32128,
    "d_model": 512,
    "d_kv": 64,
    "d_ff": 2048,
    "num_layers": 6,
    "num_heads": 8,
    "relative_attention_num_buckets": 32,
    "relative_attention_max_distance": 128,
    "layer_norm_epsilon": 1e-6,
    "feed_forward_proj": "relu",
}
ABSENT_MULTILINGUAL = {
    **ABSENT,
    "vocab_size": 250112,
    "d_ff": 1024,
    "num_layers": 8,
    "num_heads": 6,
    "feed_forward_proj": "gated-gelu",
}
FEED_FORWARDS = {
    **{word: (False, activation) for word, activation in ACTIVATIONS.items()},
    **{f"gated-{word}": (True, activation) for word, activation in ACTIVATIONS.items()},
    "gated-gelu": (True, "gelu_tanh"),
}
"""`feed_forward_proj` → whether it is gated, and its activation; gated-gelu means the form with tanh."""


def read(config: ConfigFields) -> Architecture:
    """Whether the logits have their own matrix is only known from the tensors, see `adapt`."""
    width, heads = config.integer("d_model"), config.integer("num_heads")
    config.only("is_encoder_decoder", True)
    config.ignore("num_hidden_layers")  # repeats num_layers
    gated, activation = config.choice("feed_forward_proj", FEED_FORWARDS)
    gated = config.boolean("is_gated_act", gated)
    if "dense_act_fn" in config:  # repeats feed_forward_proj, and wins where they differ
        activation = config.choice("dense_act_fn", ACTIVATIONS)
    layers = read_layers(config, "num_layers")
    norm = Norm(epsilon=config.number("layer_norm_epsilon"))
    attention = Attention(heads=heads, key_value_heads=heads, head_width=config.integer("d_kv"), scale=1.0)
    block = Block(
        attention=attention,
        feed_forward=FeedForward(
            width=config.integer("d_ff"),
            activation=activation,  # type: ignore[arg-type]
            gated=gated,
        ),
        before=norm,
    )
    position = Position(
        kind="relative",
        buckets=config.integer("relative_attention_num_buckets"),
        max_distance=config.integer("relative_attention_max_distance"),
    )
    written = read_layers(config, "num_decoder_layers") if "num_decoder_layers" in config else layers
    tied = config.boolean("tie_word_embeddings", True)
    return Architecture(
        vocab_size=config.integer("vocab_size"),
        width=width,
        context=config.integer("n_positions", 512),
        encoder=Stack(blocks=layers * (block,), position=position, final_norm=norm),
        decoder=Stack(
            blocks=written * (replace(block, cross_attention=attention),), position=position, final_norm=norm
        ),
        tied_embeddings=tied,
        logit_scale=width**-0.5 if config.boolean("scale_decoder_outputs", tied) else 1.0,
    )


def read_multilingual(config: ConfigFields) -> Architecture:
    """The logits are never scaled, even if the file says that they are tied."""
    return replace(read(config), logit_scale=1.0)


def adapt(architecture: Architecture, weights: TensorSource) -> Architecture:
    """Newer programs always write tie_word_embeddings as true: a matrix that differs is not tied."""
    head, shared = "lm_head.weight", "shared.weight"
    tied = head not in weights or (shared in weights and weights.equal(head, shared))
    return replace(architecture, tied_embeddings=tied)


def write(architecture: Architecture) -> dict[str, Any]:
    """The fields of `read`."""
    encoder, decoder = architecture.encoder, architecture.decoder
    if encoder is None:
        raise NoCounterpartError("it has no encoder")
    first = encoder.blocks[0]
    gated, word = first.feed_forward.gated, ACTIVATION_WORDS[first.feed_forward.activation]
    word = word.replace("gelu_pytorch_tanh", "gelu_new")
    proj = f"gated-{word.replace('gelu_new', 'gelu')}" if gated else word
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
        "feed_forward_proj": proj,
        "is_gated_act": gated,
        "dense_act_fn": word,
        "n_positions": architecture.context,
        "tie_word_embeddings": architecture.tied_embeddings,
        "scale_decoder_outputs": architecture.logit_scale != 1.0,
        # The cache of transformers has as many layers as the encoder.
        **({"use_cache": False} if len(decoder.blocks) > len(encoder.blocks) else {}),
    }


def _attention(ours: str, theirs: str) -> dict[str, str]:
    return {f"{ours}.{name}": f"{theirs}.{name[0]}" for name in ("query", "key", "value", "output")}


def tables(architecture: Architecture) -> list[KeyTable]:
    """A gated part has two matrices in place of one."""
    gated = architecture.decoder.blocks[0].feed_forward.gated
    table: dict[str, str | TensorLayout] = {"token_embedding": "shared", "to_logits": "lm_head"}
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


TIED_COPIES = ("shared.weight", "encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight")
UNUSED = r"decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight"

FAMILY = Family(
    name="T5",
    model_types=("t5",),
    class_name="T5ForConditionalGeneration",
    absent=ABSENT,
    read=read,
    adapt=adapt,
    write=write,
    tables=tables,
    ignored=UNUSED,
    tied_copies=TIED_COPIES,
    tokenizer=LegacyLayout(last=tuple(f"<extra_id_{number}>" for number in range(99, -1, -1))),
)
MULTILINGUAL = replace(
    FAMILY,
    name="mT5",
    model_types=("mt5",),
    class_name="MT5ForConditionalGeneration",
    absent=ABSENT_MULTILINGUAL,
    read=read_multilingual,
    tokenizer=LegacyLayout(),
)
