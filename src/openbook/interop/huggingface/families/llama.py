"""Llama 1 to 3, and the many models of the same shape."""

from typing import Any

from openbook.interop.huggingface.families.common import read_common, table, write_common
from openbook.interop.huggingface.family import Family
from openbook.interop.huggingface.fields import Fields
from openbook.transformer.architecture import Architecture


def read(fields: Fields) -> Architecture:
    """Biases may stand on all of attention, or on the feed-forward part."""
    fields.only("rope_interleaved", False)
    fields.ignore("is_llama_config")
    biased = fields.flag("attention_bias", False)
    return read_common(
        fields,
        attention={"bias": biased, "output_bias": biased},
        feed_forward={"bias": fields.flag("mlp_bias", False)},
        context=2048,
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
    read=read,
    write=write,
    tables=lambda _: [table()],
    prefix="model.",
)
