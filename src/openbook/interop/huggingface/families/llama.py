"""Llama 1 to 3, and the many models of the same shape."""

from typing import Any

from openbook.interop.huggingface.families.common import ABSENT as COMMON
from openbook.interop.huggingface.families.common import Traits, read_common, refuses_uneven_heads, table, write_common
from openbook.interop.huggingface.family import Family
from openbook.interop.huggingface.fields import ConfigFields
from openbook.transformer.architecture import Architecture

ABSENT = {
    **COMMON,
    "vocab_size": 32000,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "max_position_embeddings": 2048,
}

TRAITS = Traits()


def read(config: ConfigFields) -> Architecture:
    """Attention and the feed-forward part may have biases."""
    config.only("rope_interleaved", False)
    config.ignore("is_llama_config")
    biased = config.boolean("attention_bias", False)
    return read_common(
        config,
        TRAITS,
        attention={"bias": biased, "output_bias": biased},
        feed_forward={"bias": config.boolean("mlp_bias", False)},
    )


def write(architecture: Architecture) -> dict[str, Any]:
    """The fields of `read`."""
    first = architecture.decoder.blocks[0]
    return {
        **write_common(architecture),
        "attention_bias": first.attention.bias,
        "mlp_bias": first.feed_forward.bias,
    }


FAMILY = Family(
    name="Llama",
    model_types=("llama",),
    class_name="LlamaForCausalLM",
    absent=ABSENT,
    read=read,
    write=write,
    refuses=refuses_uneven_heads,
    tables=lambda _: [table()],
    prefix="model.",
)
