"""Gemma 1: norms of 1 + w, embeddings times √width, tied."""

from dataclasses import replace
from typing import Any

from openbook.interop.huggingface.families.common import Defaults, read_common, table, write_common
from openbook.interop.huggingface.family import Family
from openbook.interop.huggingface.fields import ConfigFields
from openbook.transformer.architecture import Architecture

GELU = {"gelu_pytorch_tanh": "gelu_tanh", "gelu": "gelu_tanh", "gelu_new": "gelu_tanh"}
"""The first files say gelu and mean the form with tanh."""


DEFAULTS = Defaults(
    activations=GELU,
    activation="gelu_pytorch_tanh",
    norm_offset=1.0,
    head_width=256,
    key_value_heads=16,
    context=8192,
    tied=True,
)


def with_scaled_embeddings(architecture: Architecture) -> Architecture:
    """The same with embeddings times √width."""
    return replace(architecture, embedding_scale=architecture.width**0.5)


def read(config: ConfigFields) -> Architecture:
    """The activation is GELU with tanh, whatever the file calls it."""
    config.only("use_bidirectional_attention", False)
    config.ignore("hidden_activation")  # always the form with tanh
    biased = config.boolean("attention_bias", False)
    return with_scaled_embeddings(read_common(config, DEFAULTS, attention={"bias": biased, "output_bias": biased}))


def write(architecture: Architecture) -> dict[str, Any]:
    """The fields of `read`."""
    written = write_common(architecture)
    return {
        **written,
        "hidden_activation": written["hidden_act"],
        "attention_bias": architecture.decoder.blocks[0].attention.bias,
    }


FAMILY = Family(
    name="Gemma",
    model_types=("gemma",),
    class_name="GemmaForCausalLM",
    read=read,
    write=write,
    tables=lambda _: [table()],
    prefix="model.",
)
