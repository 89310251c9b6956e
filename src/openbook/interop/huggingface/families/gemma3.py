"""Gemma 3, its text part: normalised queries and keys, five layers with a window and a base of their own to one."""

from dataclasses import replace
from typing import Any

from openbook.interop.huggingface.families.common import (
    SANDWICH,
    layer_types,
    read_common,
    read_layers,
    read_windows,
    table,
    window_of,
    write_common,
)
from openbook.interop.huggingface.families.gemma import GELU, offset_norm, scaled
from openbook.interop.huggingface.families.gemma2 import squared_inverse
from openbook.interop.huggingface.families.rotary import read_rotary_by_layer, rope_parameters
from openbook.interop.huggingface.family import Family
from openbook.interop.huggingface.fields import Fields
from openbook.transformer.architecture import Architecture, Position

BASES = (1_000_000.0, 10_000.0)


def read(fields: Fields) -> Architecture:
    """A model with eyes keeps the fields of its text part in `text_config`."""
    text = fields.inside("text_config")
    if text is None:
        return read_text(fields)
    fields.ignore("vision_config", "mm_tokens_per_image")
    fields.only("tie_word_embeddings", True)
    architecture = read_text(text)
    text.finish()
    return architecture


def read_text(fields: Fields) -> Architecture:
    """The fields of the text part."""
    fields.only("use_bidirectional_attention", False)
    fields.only("cache_implementation", "hybrid")
    fields.ignore("hidden_act")
    fields.only("attn_logit_softcapping")  # programs differ in whether they heed it
    biased, norm = fields.flag("attention_bias", False), offset_norm(fields)
    every = fields.whole("sliding_window_pattern", fields.whole("_sliding_window_pattern", 6)) or 1
    default = [bool((number + 1) % every) for number in range(read_layers(fields))]
    windows = read_windows(fields, default, fields.whole("sliding_window", 4096))
    context = fields.whole("max_position_embeddings", 131_072)
    full, local = read_rotary_by_layer(fields, context, BASES, "rope_local_base_freq")
    architecture = read_common(
        fields,
        attention={
            "bias": biased,
            "output_bias": biased,
            "scale": fields.number("query_pre_attn_scalar", 256) ** -0.5,
            "query_key_norm": norm,
        },
        windows=windows,
        positions=[full if window is None else local for window in windows],
        norm=norm,
        activation="hidden_activation",
        activations=GELU,
        default_activation="gelu_pytorch_tanh",
        head_width=256,
        groups=4,
        context=131_072,
        tied=True,
        change=lambda number, block: replace(block, after=norm),
    )
    return replace(scaled(architecture), logit_softcap=fields.maybe_number("final_logit_softcapping"))


def write(architecture: Architecture) -> dict[str, Any]:
    """The fields of `read_text`."""
    attention, written = architecture.decoder.blocks[0].attention, write_common(architecture)
    full, local = (_position(architecture, windowed) for windowed in (False, True))
    for spelling in ("rope_theta", "rope_scaling", "rope_parameters"):
        written.pop(spelling, None)
    stretched = {} if full.rope_scaling is None else {"rope_scaling": rope_parameters(full)}
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
        **stretched,
        "rope_parameters": {
            "full_attention": {**rope_parameters(full), "rope_theta": full.base},
            "sliding_attention": {**rope_parameters(local), "rope_theta": local.base},
        },
    }


def _position(architecture: Architecture, windowed: bool) -> Position:
    """The positions of the layers with a window, or of those without; the defaults where there are none."""
    stack = architecture.decoder
    alike = (block for block in stack.blocks if (block.attention.window is not None) == windowed)
    return next((block.position or stack.position for block in alike), Position(base=BASES[windowed]))


WITHIN = ("model.", "language_model.model.", "model.language_model.")
"""Models with eyes put the text part further in."""

FAMILY = Family(
    name="Gemma 3",
    model_types=("gemma3_text", "gemma3"),
    class_name="Gemma3ForCausalLM",
    read=read,
    write=write,
    tables=lambda _: [
        table(SANDWICH, within) for within in ("model.", "language_model.model.", "model.language_model.")
    ],
    prefix="model.",
    ignored=r".*rotary_emb\.inv_freq|(model\.)?(vision_tower|multi_modal_projector)\..*",
    tied_copies=("lm_head.weight", "language_model.lm_head.weight", "model.language_model.lm_head.weight"),
)
