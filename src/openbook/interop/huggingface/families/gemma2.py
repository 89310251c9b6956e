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
    table,
    window_of,
    write_common,
)
from openbook.interop.huggingface.families.gemma import GELU, offset_norm, scaled
from openbook.interop.huggingface.family import Family
from openbook.interop.huggingface.fields import Fields
from openbook.transformer.architecture import Architecture


def read(fields: Fields) -> Architecture:
    """A cap that is absent has its default; one that is null is none."""
    fields.only("use_bidirectional_attention", False)
    fields.only("cache_implementation", "hybrid")
    fields.ignore("hidden_act")
    biased, norm = fields.flag("attention_bias", False), offset_norm(fields)
    cap = fields.maybe_number("attn_logit_softcapping") if fields.written("attn_logit_softcapping") else 50.0
    final = fields.maybe_number("final_logit_softcapping") if fields.written("final_logit_softcapping") else 30.0
    default = [number % 2 == 0 for number in range(read_layers(fields))]
    window = fields.maybe_whole("sliding_window") if fields.written("sliding_window") else 4096
    architecture = read_common(
        fields,
        attention={
            "bias": biased,
            "output_bias": biased,
            "scale": fields.number("query_pre_attn_scalar", 256) ** -0.5,
            "attention_softcap": cap,
        },
        windows=read_windows(fields, default, window),
        norm=norm,
        activation="hidden_activation",
        activations=GELU,
        default_activation="gelu_pytorch_tanh",
        head_width=256,
        groups=4,
        context=8192,
        tied=True,
        change=lambda number, block: replace(block, after=norm),
    )
    return replace(scaled(architecture), logit_softcap=final)


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
