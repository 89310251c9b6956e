"""GPT-2: learned positions, LayerNorm, query, key and value in one matrix, matrices stored as (in, out), tied."""

from typing import Any

from openbook.interop.huggingface.families.common import ACTIVATION_WORDS, ACTIVATIONS, read_layers
from openbook.interop.huggingface.family import Family
from openbook.interop.huggingface.fields import ConfigFields
from openbook.interop.huggingface.tensor_mapping import KeyTable, fused_columns, transposed
from openbook.transformer.architecture import Architecture, Attention, Block, FeedForward, Norm, Position, Stack

ABSENT = {
    "vocab_size": 50257,
    "n_positions": 1024,
    "n_embd": 768,
    "n_layer": 12,
    "n_head": 12,
    "activation_function": "gelu_new",
    "layer_norm_epsilon": 1e-5,
    "tie_word_embeddings": True,
}


def read(config: ConfigFields) -> Architecture:
    """Scores may go unscaled, or fall with the layer's number."""
    width, heads, layers = config.integer("n_embd"), config.integer("n_head"), read_layers(config, "n_layer")
    if not heads or width % heads:
        raise config.error("n_embd", f"{width} is not a multiple of n_head, {heads}")
    config.only("reorder_and_upcast_attn", False, True)  # says only in which order to multiply
    scaled, falling = (
        config.boolean("scale_attn_weights", True),
        config.boolean("scale_attn_by_inverse_layer_idx", False),
    )
    norm = Norm(kind="layer", epsilon=config.number("layer_norm_epsilon"), bias=True)
    hidden = FeedForward(
        width=config.integer("n_inner", 4 * width),
        activation=config.choice("activation_function", ACTIVATIONS),  # type: ignore[arg-type]
        gated=False,
        bias=True,
    )
    blocks = []
    for number in range(layers):
        scale = (width // heads) ** -0.5 if scaled else 1.0
        attention = Attention(
            heads=heads,
            key_value_heads=heads,
            head_width=width // heads,
            bias=True,
            output_bias=True,
            scale=scale / (number + 1) if falling else None if scaled else scale,
        )
        blocks.append(Block(attention=attention, feed_forward=hidden, before=norm))
    return Architecture(
        vocab_size=config.integer("vocab_size"),
        width=width,
        context=config.integer("n_positions"),
        decoder=Stack(blocks=tuple(blocks), position=Position(kind="learned"), final_norm=norm),
        tied_embeddings=config.boolean("tie_word_embeddings", False),
    )


def write(architecture: Architecture) -> dict[str, Any]:
    """The fields of `read`."""
    blocks = architecture.decoder.blocks
    first = blocks[0]
    return {
        "vocab_size": architecture.vocab_size,
        "n_positions": architecture.context,
        "n_embd": architecture.width,
        "n_layer": len(blocks),
        "n_head": first.attention.heads,
        "n_inner": first.feed_forward.width,
        "activation_function": ACTIVATION_WORDS[first.feed_forward.activation].replace("pytorch_tanh", "new"),
        "layer_norm_epsilon": architecture.decoder.final_norm.epsilon,
        "scale_attn_weights": first.attention.scale != 1.0,
        "scale_attn_by_inverse_layer_idx": len(blocks) > 1 and blocks[1].attention.scale != first.attention.scale,
        "tie_word_embeddings": architecture.tied_embeddings,
    }


TABLE: KeyTable = {
    "token_embedding": "transformer.wte",
    "decoder.position": "transformer.wpe",
    "decoder.final_norm": "transformer.ln_f",
    "to_logits": "lm_head",
    "decoder.blocks.#.self_attention_residual.before": "transformer.h.#.ln_1",
    "decoder.blocks.#.self_attention.query": fused_columns("transformer.h.#.attn.c_attn", lambda shape: 0),
    "decoder.blocks.#.self_attention.key": fused_columns("transformer.h.#.attn.c_attn", lambda shape: shape[0]),
    "decoder.blocks.#.self_attention.value": fused_columns("transformer.h.#.attn.c_attn", lambda shape: 2 * shape[0]),
    "decoder.blocks.#.self_attention.output": transposed("transformer.h.#.attn.c_proj"),
    "decoder.blocks.#.feed_forward_residual.before": "transformer.h.#.ln_2",
    "decoder.blocks.#.feed_forward.up": transposed("transformer.h.#.mlp.c_fc"),
    "decoder.blocks.#.feed_forward.down": transposed("transformer.h.#.mlp.c_proj"),
}

FAMILY = Family(
    name="GPT-2",
    model_types=("gpt2",),
    class_name="GPT2LMHeadModel",
    absent=ABSENT,
    read=read,
    write=write,
    tables=lambda _: [TABLE],
    prefix="transformer.",
    ignored=r"(transformer\.)?h\.\d+\.attn\.(masked_)?bias",
)
