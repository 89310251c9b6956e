"""Mixtral: a mixture of experts, stored as a module for each or stacked in one tensor."""

from typing import Any

from openbook.interop.huggingface.families.common import ABSENT as COMMON
from openbook.interop.huggingface.families.common import (
    Traits,
    experts_of,
    read_common,
    read_layers,
    table,
    window_of,
    write_common,
    write_experts_implementation,
)
from openbook.interop.huggingface.family import Family
from openbook.interop.huggingface.fields import ConfigFields
from openbook.interop.huggingface.tensor_mapping import separate_experts, stacked_experts
from openbook.transformer.architecture import Architecture, Experts

ABSENT = {
    **COMMON,
    "vocab_size": 32000,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "max_position_embeddings": 131072,
    "rms_norm_eps": 1e-05,
    "rope_theta": 1000000.0,
}

TRAITS = Traits()


def read(config: ConfigFields) -> Architecture:
    """The gate weights of the chosen experts are normalized."""
    experts = Experts(
        count=config.integer("num_local_experts", 8), experts_per_token=config.integer("num_experts_per_tok", 2)
    )
    windows = read_layers(config) * [config.optional_integer("sliding_window")]
    return read_common(config, TRAITS, feed_forward={"experts": experts}, windows=windows)


def write(architecture: Architecture) -> dict[str, Any]:
    """The fields of `read`."""
    _, experts = experts_of(architecture)
    return {
        **write_common(architecture),
        **write_experts_implementation(architecture),
        "sliding_window": window_of(architecture),
        "num_local_experts": experts.count,
        "num_experts_per_tok": experts.experts_per_token,
    }


SEPARATE = table(
    {
        "feed_forward.router": "block_sparse_moe.gate",
        "feed_forward.gate": separate_experts("block_sparse_moe.experts.*.w1"),
        "feed_forward.up": separate_experts("block_sparse_moe.experts.*.w3"),
        "feed_forward.down": separate_experts("block_sparse_moe.experts.*.w2"),
    }
)
STACKED = table(
    {
        "feed_forward.router": "mlp.gate",
        "feed_forward.gate": stacked_experts("mlp.experts.gate_up_proj", lambda rows: slice(0, rows)),
        "feed_forward.up": stacked_experts("mlp.experts.gate_up_proj", lambda rows: slice(rows, 2 * rows)),
        "feed_forward.down": stacked_experts("mlp.experts.down_proj", lambda rows: slice(0, rows)),
    }
)

FAMILY = Family(
    name="Mixtral",
    model_types=("mixtral",),
    class_name="MixtralForCausalLM",
    absent=ABSENT,
    read=read,
    write=write,
    tables=lambda _: [SEPARATE, STACKED],
    prefix="model.",
)
