"""Mistral: one window for all layers, or none."""

from typing import Any

from openbook.interop.huggingface.families.common import ABSENT as COMMON
from openbook.interop.huggingface.families.common import (
    Traits,
    read_common,
    read_layers,
    table,
    window_of,
    write_common,
)
from openbook.interop.huggingface.family import Family
from openbook.interop.huggingface.fields import ConfigFields
from openbook.transformer.architecture import Architecture

ABSENT = {
    **COMMON,
    "vocab_size": 32000,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "max_position_embeddings": 131072,
    "sliding_window": 4096,
}

TRAITS = Traits()


def read(config: ConfigFields) -> Architecture:
    """A window that is absent has 4,096 tokens; null means no window."""
    window = config.optional_integer("sliding_window")
    return read_common(config, TRAITS, windows=read_layers(config) * [window])


def write(architecture: Architecture) -> dict[str, Any]:
    """The fields of `read`."""
    return {**write_common(architecture), "sliding_window": window_of(architecture)}


FAMILY = Family(
    name="Mistral",
    model_types=("mistral",),
    class_name="MistralForCausalLM",
    absent=ABSENT,
    read=read,
    write=write,
    tables=lambda _: [table()],
    prefix="model.",
)
