"""Qwen 2 and 2.5: queries, keys and values have biases; the later layers may have a window."""

from typing import Any

from openbook.interop.huggingface.families.common import ABSENT as COMMON
from openbook.interop.huggingface.families.common import (
    WITHOUT_SIZE,
    Traits,
    layer_types,
    read_common,
    read_layers,
    read_windows,
    table,
    window_of,
    write_common,
)
from openbook.interop.huggingface.family import Family
from openbook.interop.huggingface.fields import ConfigFields
from openbook.transformer.architecture import Architecture

ABSENT = {
    **COMMON,
    "vocab_size": 151936,
    "hidden_size": 4096,
    "intermediate_size": 22016,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "max_position_embeddings": 32768,
    "sliding_window": 4096,
}

TRAITS = Traits()


UNUSED = "names layers with a window, but use_sliding_window is not true; set it, or make all layers full_attention"


def later_windows(config: ConfigFields) -> list[int | None]:
    """A window from layer `max_window_layers` on, where `use_sliding_window` says so."""
    used = config.boolean("use_sliding_window", False)
    size, first = config.optional_integer("sliding_window"), config.integer("max_window_layers", 28)
    size = size if used else None
    default = [size is not None and number >= first for number in range(read_layers(config))]
    return read_windows(config, default, size, WITHOUT_SIZE if used else UNUSED)


def write_windows(architecture: Architecture) -> dict[str, Any]:
    """The fields of `later_windows`; older programs, which do not know layer_types, read the same."""
    window, kinds = window_of(architecture), layer_types(architecture)
    first = kinds.index("sliding_attention") if window is not None else len(kinds)
    return {
        "use_sliding_window": window is not None,
        "sliding_window": window,
        "max_window_layers": first,
        "layer_types": kinds,
    }


def read(config: ConfigFields) -> Architecture:
    """Multimodal positions are refused."""
    config.only("use_mrope", False)
    return read_common(config, TRAITS, attention={"bias": True}, windows=later_windows(config))


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
    absent=ABSENT,
    read=read,
    write=write,
    tables=lambda _: [table()],
    prefix="model.",
)
