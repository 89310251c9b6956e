"""Qwen 3: each head's queries and keys are normalised. This is the shape that openbook trains by default."""

from typing import Any

from openbook.interop.huggingface.families.common import ABSENT as COMMON
from openbook.interop.huggingface.families.common import Traits, read_common, read_norm, table, write_common
from openbook.interop.huggingface.families.qwen2 import later_windows, write_windows
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
    "head_dim": 128,
    "sliding_window": 4096,
}

TRAITS = Traits()


def read_attention(config: ConfigFields) -> dict[str, Any]:
    """Arguments of `Attention` beyond the common ones: query-key norms, and biases on all matrices or none."""
    biased = config.boolean("attention_bias", False)
    return {"bias": biased, "output_bias": biased, "query_key_norm": read_norm(config, TRAITS)}


def read(config: ConfigFields) -> Architecture:
    """Windows as in Qwen 2."""
    return read_common(config, TRAITS, attention=read_attention(config), windows=later_windows(config))


def write(architecture: Architecture) -> dict[str, Any]:
    """The fields of `read`."""
    biased = architecture.decoder.blocks[0].attention.bias
    return {**write_common(architecture), "attention_bias": biased, **write_windows(architecture)}


FAMILY = Family(
    name="Qwen 3",
    model_types=("qwen3",),
    class_name="Qwen3ForCausalLM",
    absent=ABSENT,
    read=read,
    write=write,
    tables=lambda _: [table()],
    prefix="model.",
)
