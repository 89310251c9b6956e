"""Gemma 1: norms of 1 + w, embeddings times √width, tied."""

from dataclasses import replace
from typing import Any

from openbook.interop.huggingface.families.common import read_common, table, write_common
from openbook.interop.huggingface.family import Family
from openbook.interop.huggingface.fields import Fields
from openbook.transformer.architecture import Architecture, Norm

# The first files say "gelu" and mean the form with tanh.
GELU = {"gelu_pytorch_tanh": "gelu_tanh", "gelu": "gelu_tanh", "gelu_new": "gelu_tanh"}


def offset_norm(fields: Fields) -> Norm:
    """RMSNorm of 1 + w."""
    return Norm(epsilon=fields.number("rms_norm_eps", 1e-6), offset=1.0)


def scaled(architecture: Architecture) -> Architecture:
    """The same with embeddings times √width."""
    return replace(architecture, embedding_scale=architecture.width**0.5)


def read(fields: Fields) -> Architecture:
    """See above."""
    fields.only("use_bidirectional_attention", False)
    fields.ignore("hidden_activation")  # always the form with tanh
    biased = fields.flag("attention_bias", False)
    return scaled(
        read_common(
            fields,
            attention={"bias": biased, "output_bias": biased},
            norm=offset_norm(fields),
            activations=GELU,
            default_activation="gelu_pytorch_tanh",
            head_width=256,
            groups=16,
            context=8192,
            tied=True,
        )
    )


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
    read=read,
    write=write,
    tables=lambda _: [table()],
    prefix="model.",
)
