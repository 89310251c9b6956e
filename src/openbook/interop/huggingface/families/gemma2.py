"""Gemma 2: a norm before and after each sublayer, soft caps, every other layer with a window."""

import math
from dataclasses import replace
from typing import Any

from openbook.interop.huggingface.families.common import ABSENT as COMMON
from openbook.interop.huggingface.families.common import (
    SANDWICH,
    Traits,
    layer_types,
    read_common,
    read_layers,
    read_windows,
    refuses_uneven_heads,
    sandwich,
    table,
    window_of,
    write_common,
)
from openbook.interop.huggingface.families.gemma import with_scaled_embeddings
from openbook.interop.huggingface.family import Family
from openbook.interop.huggingface.fields import ConfigFields
from openbook.transformer.architecture import Architecture

ABSENT = {
    **COMMON,
    "vocab_size": 256000,
    "hidden_size": 2304,
    "intermediate_size": 9216,
    "num_hidden_layers": 26,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "max_position_embeddings": 8192,
    "head_dim": 256,
    "hidden_activation": "gelu_pytorch_tanh",
    "tie_word_embeddings": True,
    "sliding_window": 4096,
    "attn_logit_softcapping": 50.0,
    "final_logit_softcapping": 30.0,
}

TRAITS = Traits(activation_field="hidden_activation", norm_offset=1.0)


def read(config: ConfigFields) -> Architecture:
    """A cap that is absent has its default; one that is null is none."""
    config.only("use_bidirectional_attention", False)
    config.only("cache_implementation", "hybrid")
    config.ignore("hidden_act")
    biased = config.boolean("attention_bias", False)
    default = [number % 2 == 0 for number in range(read_layers(config))]
    architecture = read_common(
        config,
        TRAITS,
        attention={
            "bias": biased,
            "output_bias": biased,
            "scale": config.number("query_pre_attn_scalar", 256) ** -0.5,
            "attention_softcap": config.optional_number("attn_logit_softcapping"),
        },
        windows=read_windows(config, default, config.optional_integer("sliding_window")),
        change=sandwich,
    )
    return replace(
        with_scaled_embeddings(architecture), logit_softcap=config.optional_number("final_logit_softcapping")
    )


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
    absent=ABSENT,
    read=read,
    write=write,
    refuses=refuses_uneven_heads,
    tables=lambda _: [table(SANDWICH)],
    prefix="model.",
)
