"""Mixtral: a mixture of experts; their matrices stand in modules of their own, or stacked and fused."""

from typing import Any

from openbook.interop.huggingface.families.common import (
    experts_of,
    read_common,
    read_layers,
    table,
    window_of,
    write_common,
)
from openbook.interop.huggingface.family import Family
from openbook.interop.huggingface.fields import Fields
from openbook.interop.huggingface.tensor_mapping import each_expert, stacked
from openbook.transformer.architecture import Architecture, Experts


def read(fields: Fields) -> Architecture:
    """The shares of the chosen experts are renormalised."""
    experts = Experts(
        count=fields.whole("num_local_experts", 8), experts_per_token=fields.whole("num_experts_per_tok", 2)
    )
    window = fields.maybe_whole("sliding_window")
    return read_common(
        fields,
        feed_forward={"experts": experts},
        windows=read_layers(fields) * [window],
        groups=8,
        base=1e6,
        context=4096 * 32,
    )


def write(architecture: Architecture) -> dict[str, Any]:
    """The fields of `read`."""
    _, experts = experts_of(architecture)
    return {
        **write_common(architecture),
        "sliding_window": window_of(architecture),
        "num_local_experts": experts.count,
        "num_experts_per_tok": experts.experts_per_token,
    }


APART = table(
    {
        "feed_forward.router": "block_sparse_moe.gate",
        "feed_forward.gate": each_expert("block_sparse_moe.experts.*.w1"),
        "feed_forward.up": each_expert("block_sparse_moe.experts.*.w3"),
        "feed_forward.down": each_expert("block_sparse_moe.experts.*.w2"),
    }
)
FUSED = table(
    {
        "feed_forward.router": "mlp.gate",
        "feed_forward.gate": stacked("mlp.experts.gate_up_proj", lambda rows: slice(0, rows)),
        "feed_forward.up": stacked("mlp.experts.gate_up_proj", lambda rows: slice(rows, 2 * rows)),
        "feed_forward.down": stacked("mlp.experts.down_proj", lambda rows: slice(0, rows)),
    }
)

FAMILY = Family(
    name="Mixtral",
    model_types=("mixtral",),
    class_name="MixtralForCausalLM",
    read=read,
    write=write,
    tables=lambda _: [APART, FUSED],
    prefix="model.",
)
