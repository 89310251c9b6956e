"""Gemma 3, its text part: normalised queries and keys, five layers with a window and a base of their own to one."""

from dataclasses import replace
from typing import Any

from openbook.interop.huggingface.families.common import ABSENT as COMMON
from openbook.interop.huggingface.families.common import (
    SANDWICH,
    Traits,
    layer_types,
    read_common,
    read_layers,
    read_norm,
    read_windows,
    refuses_uneven_heads,
    sandwich,
    table,
    window_of,
    write_common,
)
from openbook.interop.huggingface.families.gemma import with_scaled_embeddings
from openbook.interop.huggingface.families.gemma2 import squared_inverse
from openbook.interop.huggingface.families.rotary import read_rotary_by_layer, rope_parameters
from openbook.interop.huggingface.family import Family
from openbook.interop.huggingface.fields import ConfigFields
from openbook.transformer.architecture import Architecture, Position

BASES = (1_000_000.0, 10_000.0)
"""Rotary bases of layers without and with a window."""


ABSENT = {
    **COMMON,
    "vocab_size": 262208,
    "hidden_size": 2304,
    "intermediate_size": 9216,
    "num_hidden_layers": 26,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "max_position_embeddings": 131072,
    "head_dim": 256,
    "hidden_activation": "gelu_pytorch_tanh",
    "tie_word_embeddings": True,
    "sliding_window": 4096,
    "rope_theta": BASES[0],
    "rope_local_base_freq": BASES[1],
}

TRAITS = Traits(activation_field="hidden_activation", norm_offset=1.0)


def read(config: ConfigFields) -> Architecture:
    """A model that reads images too has the fields of its text part in `text_config`."""
    text = config.nested("text_config")
    if text is None:
        return read_text(config)
    config.ignore("vision_config", "mm_tokens_per_image")
    config.only("tie_word_embeddings", True)
    architecture = read_text(text.with_defaults(ABSENT))
    text.finish()
    return architecture


def read_text(config: ConfigFields) -> Architecture:
    """The fields of the text part."""
    config.only("use_bidirectional_attention", False)
    config.only("cache_implementation", "hybrid")
    config.ignore("hidden_act")
    config.only("attn_logit_softcapping")  # programs disagree on whether it counts
    biased = config.boolean("attention_bias", False)
    every = config.integer("sliding_window_pattern", config.integer("_sliding_window_pattern", 6)) or 1
    default = [bool((number + 1) % every) for number in range(read_layers(config))]
    windows = read_windows(config, default, config.optional_integer("sliding_window"))
    context = config.integer("max_position_embeddings")
    full, local = read_rotary_by_layer(config, context, "rope_local_base_freq")
    architecture = read_common(
        config,
        TRAITS,
        attention={
            "bias": biased,
            "output_bias": biased,
            "scale": config.number("query_pre_attn_scalar", 256) ** -0.5,
            "query_key_norm": read_norm(config, TRAITS),
        },
        windows=windows,
        positions=[full if window is None else local for window in windows],
        change=sandwich,
    )
    return replace(
        with_scaled_embeddings(architecture), logit_softcap=config.optional_number("final_logit_softcapping")
    )


def write(architecture: Architecture) -> dict[str, Any]:
    """The fields of `read_text`."""
    attention, written = architecture.decoder.blocks[0].attention, write_common(architecture)
    full, local = (_position(architecture, windowed) for windowed in (False, True))
    for field in ("rope_theta", "rope_scaling", "rope_parameters"):
        written.pop(field, None)
    scaling = {} if full.rope_scaling is None else {"rope_scaling": rope_parameters(full)}
    return {
        **written,
        "hidden_activation": written["hidden_act"],
        "attention_bias": attention.bias,
        "query_pre_attn_scalar": squared_inverse(attention.scale),
        "final_logit_softcapping": architecture.logit_softcap,
        "sliding_window": window_of(architecture) or 4096,
        "layer_types": layer_types(architecture),
        "rope_theta": full.base,
        "rope_local_base_freq": local.base,
        **scaling,
        "rope_parameters": {
            "full_attention": {**rope_parameters(full), "rope_theta": full.base},
            "sliding_attention": {**rope_parameters(local), "rope_theta": local.base},
        },
    }


def _position(architecture: Architecture, windowed: bool) -> Position:
    """The positions of the layers with a window, or of those without; the defaults where there are no such layers."""
    stack = architecture.decoder
    alike = (block for block in stack.blocks if (block.attention.window is not None) == windowed)
    return next((block.position or stack.position for block in alike), Position(base=BASES[windowed]))


PREFIXES = ("model.", "language_model.model.", "model.language_model.")
"""Models that read images too have the text part further inside."""

FAMILY = Family(
    name="Gemma 3",
    model_types=("gemma3_text", "gemma3"),
    class_name="Gemma3ForCausalLM",
    absent=ABSENT,
    read=read,
    write=write,
    refuses=refuses_uneven_heads,
    tables=lambda _: [table(SANDWICH, prefix) for prefix in PREFIXES],
    prefix="model.",
    ignored=r".*rotary_emb\.inv_freq|(model\.)?(vision_tower|multi_modal_projector)\..*",
    tied_copies=("lm_head.weight", "language_model.lm_head.weight", "model.language_model.lm_head.weight"),
)
