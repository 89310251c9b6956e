"""Qwen 3: each head's queries and keys are normalised. This is the shape that openbook trains by default."""

from typing import Any

from openbook.interop.huggingface.families.common import read_common, table, write_common
from openbook.interop.huggingface.families.qwen2 import later_windows, write_windows
from openbook.interop.huggingface.family import Family
from openbook.interop.huggingface.fields import Fields
from openbook.transformer.architecture import Architecture, Norm


def query_key_norm(fields: Fields) -> dict[str, Any]:
    """What its attention has besides: norms, and biases on all or none."""
    biased = fields.flag("attention_bias", False)
    norm = Norm(epsilon=fields.number("rms_norm_eps", 1e-6))
    return {"bias": biased, "output_bias": biased, "query_key_norm": norm}


def read(fields: Fields) -> Architecture:
    """See above."""
    windows = later_windows(fields)
    return read_common(
        fields, attention=query_key_norm(fields), windows=windows, groups=32, head_width=128, context=32768
    )


def write(architecture: Architecture) -> dict[str, Any]:
    """The fields of `read`."""
    biased = architecture.decoder.blocks[0].attention.bias
    return {**write_common(architecture), "attention_bias": biased, **write_windows(architecture)}


FAMILY = Family(
    name="Qwen 3",
    model_types=("qwen3",),
    class_name="Qwen3ForCausalLM",
    read=read,
    write=write,
    tables=lambda _: [table()],
    prefix="model.",
)
