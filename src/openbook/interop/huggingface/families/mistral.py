"""Mistral: one window for all layers, or none."""

from typing import Any

from openbook.interop.huggingface.families.common import read_common, read_layers, table, window_of, write_common
from openbook.interop.huggingface.family import Family
from openbook.interop.huggingface.fields import Fields
from openbook.transformer.architecture import Architecture


def read(fields: Fields) -> Architecture:
    """A window that is absent is 4,096; one that is null is none, and a file that writes null says so."""
    window = fields.maybe_whole("sliding_window") if fields.written("sliding_window") else 4096
    return read_common(fields, windows=read_layers(fields) * [window], groups=8, context=4096 * 32)


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
