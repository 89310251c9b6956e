"""Mistral: one window for all layers, or none."""

from typing import Any

from openbook.interop.huggingface.families.common import (
    Defaults,
    read_common,
    read_layers,
    table,
    window_of,
    write_common,
)
from openbook.interop.huggingface.family import Family
from openbook.interop.huggingface.fields import ConfigFields
from openbook.transformer.architecture import Architecture

DEFAULTS = Defaults(key_value_heads=8, context=131_072)


def read(config: ConfigFields) -> Architecture:
    """A window that is absent has 4,096 tokens; null means no window."""
    window = config.optional_integer("sliding_window") if config.is_present("sliding_window") else 4096
    return read_common(config, DEFAULTS, windows=read_layers(config) * [window])


def write(architecture: Architecture) -> dict[str, Any]:
    """The fields of `read`."""
    return {**write_common(architecture), "sliding_window": window_of(architecture)}


FAMILY = Family(
    name="Mistral",
    model_types=("mistral",),
    class_name="MistralForCausalLM",
    read=read,
    write=write,
    tables=lambda _: [table()],
    prefix="model.",
)
