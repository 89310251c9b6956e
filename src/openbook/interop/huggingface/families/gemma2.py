"""Gemma 2: a norm before and after each sublayer, soft caps, every other layer with a window."""

import math
from dataclasses import replace
from typing import Any

from openbook.interop.huggingface.families.common import (
    SANDWICH,
    layer_types,
    read_common,
    read_layers,
    read_windows,
    sandwich,
    table,
    window_of,
    write_common,
)
from openbook.interop.huggingface.families.gemma import DEFAULTS as GEMMA
from openbook.interop.huggingface.families.gemma import with_scaled_embeddings
from openbook.interop.huggingface.family import Family
from openbook.interop.huggingface.fields import ConfigFields
from openbook.transformer.architecture import Architecture

DEFAULTS = replace(GEMMA, activation_field="hidden_activation", key_value_heads=4)


def read(config: ConfigFields) -> Architecture:
    """A cap that is absent has its default; one that is null is none."""
    config.only("use_bidirectional_attention", False)
    config.only("cache_implementation", "hybrid")
    config.ignore("hidden_act")
    biased = config.boolean("attention_bias", False)
    cap = config.optional_number("attn_logit_softcapping") if config.is_present("attn_logit_softcapping") else 50.0
    final = config.optional_number("final_logit_softcapping") if config.is_present("final_logit_softcapping") else 30.0
    default = [number % 2 == 0 for number in range(read_layers(config))]
    window = config.optional_integer("sliding_window") if config.is_present("sliding_window") else 4096
    architecture = read_common(
        config,
        DEFAULTS,
        attention={
            "bias": biased,
            "output_bias": biased,
            "scale": config.number("query_pre_attn_scalar", 256) ** -0.5,
            "attention_softcap": cap,
        },
        windows=read_windows(config, default, window),
        change=sandwich,
    )
    return replace(with_scaled_embeddings(architecture), logit_softcap=final)


def write(architecture: Architecture) -> dict[str, Any]:
    """The fields of `read`."""
    attention, written = architecture.decoder.blocks[0].attention, write_common(architecture)
    return {
        **written,
        "hidden_activation": written["hidden_act"],
        "attention_bias": attention.bias,
        "query_pre_attn_scalar": squared_inverse(attention.scale),
        "attn_logit_softcapping": attention.attention_softcap,
        "final_logit_softcapping": architecture.logit_softcap,
        "sliding_window": window_of(architecture) or 4096,
        "layer_types": layer_types(architecture),
    }


def squared_inverse(scale: float | None) -> float | int | None:
    """The number whose power of −1/2 is this scale, as a whole number where it is one."""
    if not scale:
        return None
    number = scale**-2
    near = (round(number), number, math.nextafter(number, 0.0), math.nextafter(number, math.inf))
    return next((each for each in near if each > 0 and each**-0.5 == scale), number)


FAMILY = Family(
    name="Gemma 2",
    model_types=("gemma2",),
    class_name="Gemma2ForCausalLM",
    read=read,
    write=write,
    tables=lambda _: [table(SANDWICH)],
    prefix="model.",
)
