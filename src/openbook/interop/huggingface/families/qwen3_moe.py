"""Qwen 3 with experts: in all layers, in every so many, or in all but some."""

from dataclasses import replace
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
from openbook.interop.huggingface.families.qwen3 import read_attention
from openbook.interop.huggingface.family import Family
from openbook.interop.huggingface.fields import ConfigFields
from openbook.interop.huggingface.tensor_mapping import matrix_or_experts, separate_experts, stacked_experts
from openbook.transformer.architecture import Architecture, Block, Experts

ABSENT = {
    **COMMON,
    "vocab_size": 151936,
    "hidden_size": 2048,
    "intermediate_size": 6144,
    "num_hidden_layers": 24,
    "num_attention_heads": 32,
    "num_key_value_heads": 4,
    "max_position_embeddings": 32768,
    "sliding_window": 4096,
}

TRAITS = Traits()


def read(config: ConfigFields) -> Architecture:
    """Experts have their own width; `norm_topk_prob` says whether their gate weights are normalized."""
    count = config.optional_integer("num_local_experts")
    experts = Experts(
        count=config.integer("num_experts", 128 if count is None else count),
        experts_per_token=config.integer("num_experts_per_tok", 8),
        normalize_weights=config.boolean("norm_topk_prob", False),
    )
    width, every = config.integer("moe_intermediate_size", 768), config.integer("decoder_sparse_step", 1) or 1
    dense = set(config.integers("mlp_only_layers"))
    used = config.boolean("use_sliding_window", False)
    config.ignore("max_window_layers")
    window = config.optional_integer("sliding_window")

    def change(number: int, block: Block) -> Block:
        if number in dense or (number + 1) % every:
            return block
        return replace(block, feed_forward=replace(block.feed_forward, width=width, experts=experts))

    return read_common(
        config,
        TRAITS,
        attention=read_attention(config),
        windows=read_layers(config) * [window if used else None],
        change=change,
    )


def write(architecture: Architecture) -> dict[str, Any]:
    """The fields of `read`."""
    parts = [block.feed_forward for block in architecture.decoder.blocks]
    mixed, experts = experts_of(architecture)
    dense = [number for number, part in enumerate(parts) if part.experts is None]
    return {
        **write_common(architecture),
        **write_experts_implementation(architecture),
        "intermediate_size": parts[dense[0]].width if dense else mixed.width,
        "attention_bias": architecture.decoder.blocks[0].attention.bias,
        "num_experts": experts.count,
        "num_experts_per_tok": experts.experts_per_token,
        "norm_topk_prob": experts.normalize_weights,
        "moe_intermediate_size": mixed.width,
        "decoder_sparse_step": 1,
        "mlp_only_layers": dense,
        "use_sliding_window": window_of(architecture) is not None,
        "sliding_window": window_of(architecture),
    }


SEPARATE = table(
    {
        "feed_forward.router": "mlp.gate",
        "feed_forward.gate": matrix_or_experts("mlp.gate_proj", separate_experts("mlp.experts.*.gate_proj")),
        "feed_forward.up": matrix_or_experts("mlp.up_proj", separate_experts("mlp.experts.*.up_proj")),
        "feed_forward.down": matrix_or_experts("mlp.down_proj", separate_experts("mlp.experts.*.down_proj")),
    }
)
STACKED = table(
    {
        "feed_forward.router": "mlp.gate",
        "feed_forward.gate": matrix_or_experts(
            "mlp.gate_proj", stacked_experts("mlp.experts.gate_up_proj", lambda rows: slice(0, rows))
        ),
        "feed_forward.up": matrix_or_experts(
            "mlp.up_proj", stacked_experts("mlp.experts.gate_up_proj", lambda rows: slice(rows, 2 * rows))
        ),
        "feed_forward.down": matrix_or_experts(
            "mlp.down_proj", stacked_experts("mlp.experts.down_proj", lambda rows: slice(0, rows))
        ),
    }
)

FAMILY = Family(
    name="Qwen 3 MoE",
    model_types=("qwen3_moe",),
    class_name="Qwen3MoeForCausalLM",
    absent=ABSENT,
    read=read,
    write=write,
    tables=lambda _: [SEPARATE, STACKED],
    prefix="model.",
)
