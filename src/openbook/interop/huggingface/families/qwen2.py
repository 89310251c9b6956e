"""Qwen 2 and 2.5: queries, keys and values have biases; the later layers may have a window."""

from typing import Any

from openbook.interop.huggingface.families.common import (
    layer_types,
    read_common,
    read_layers,
    read_windows,
    table,
    window_of,
    write_common,
)
from openbook.interop.huggingface.family import Family
from openbook.interop.huggingface.fields import Fields
from openbook.transformer.architecture import Architecture


def later_windows(fields: Fields) -> list[int | None]:
    """A window from layer `max_window_layers` on, where `use_sliding_window` says so."""
    used = fields.flag("use_sliding_window", False)
    size, first = fields.whole("sliding_window", 4096), fields.whole("max_window_layers", 28)
    return read_windows(fields, [used and n >= first for n in range(read_layers(fields))], size if used else None)


def write_windows(architecture: Architecture) -> dict[str, Any]:
    """The fields of `later_windows`; an older program that does not know layer_types reads the same."""
    window, kinds = window_of(architecture), layer_types(architecture)
    first = kinds.index("sliding_attention") if window is not None else len(kinds)
    return {
        "use_sliding_window": window is not None,
        "sliding_window": window,
        "max_window_layers": first,
        "layer_types": kinds,
    }


def read(fields: Fields) -> Architecture:
    """See above."""
    fields.only("use_mrope", False)
    return read_common(fields, attention={"bias": True}, windows=later_windows(fields), context=32768)


def write(architecture: Architecture) -> dict[str, Any]:
    """The fields of `read`."""
    written = write_common(architecture)
    if written["head_dim"] * written["num_attention_heads"] == written["hidden_size"]:
        del written["head_dim"]  # these programs do not look at it
    return {**written, **write_windows(architecture)}


FAMILY = Family(
    name="Qwen 2",
    model_types=("qwen2",),
    class_name="Qwen2ForCausalLM",
    read=read,
    write=write,
    tables=lambda _: [table()],
    prefix="model.",
)
