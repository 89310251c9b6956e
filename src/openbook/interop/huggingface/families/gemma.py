"""Gemma 1: norms of 1 + w, embeddings times √width, tied."""

from dataclasses import replace
from typing import Any

from openbook.interop.huggingface.families.common import ABSENT as COMMON
from openbook.interop.huggingface.families.common import ACTIVATIONS, Traits, read_common, table, write_common
from openbook.interop.huggingface.family import Family
from openbook.interop.huggingface.fields import ConfigFields
from openbook.transformer.architecture import Architecture

ABSENT = {
    **COMMON,
    "vocab_size": 256000,
    "hidden_size": 3072,
    "intermediate_size": 24576,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 16,
    "max_position_embeddings": 8192,
    "head_dim": 256,
    "hidden_act": "gelu_pytorch_tanh",
    "tie_word_embeddings": True,
}

TRAITS = Traits(activations={**ACTIVATIONS, "gelu": "gelu_tanh"}, norm_offset=1.0)
"""The first files say gelu and mean the form with tanh."""


def with_scaled_embeddings(architecture: Architecture) -> Architecture:
    """The same with embeddings times √width."""
    return replace(architecture, embedding_scale=architecture.width**0.5)


def read(config: ConfigFields) -> Architecture:
    """Later files repeat the activation in `hidden_activation`."""
    config.only("use_bidirectional_attention", False)
    config.ignore("hidden_activation")
    biased = config.boolean("attention_bias", False)
    return with_scaled_embeddings(read_common(config, TRAITS, attention={"bias": biased, "output_bias": biased}))


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
    absent=ABSENT,
    read=read,
    write=write,
    tables=lambda _: [table()],
    prefix="model.",
)
