"""Qwen 3 with experts: in all layers, in every so many, or in all but some."""

from dataclasses import replace
from typing import Any

from openbook.interop.huggingface.families.common import (
    experts_of,
    read_common,
    read_layers,
    table,
    window_of,
    write_common,
)
from openbook.interop.huggingface.families.qwen3 import query_key_norm
from openbook.interop.huggingface.family import Family
from openbook.interop.huggingface.fields import Fields
from openbook.interop.huggingface.tensor_mapping import by_rank, each_expert, stacked
from openbook.transformer.architecture import Architecture, Block, Experts


def read(fields: Fields) -> Architecture:
    """Experts have a width of their own; `norm_topk_prob` says whether their shares are renormalised."""
    count = fields.maybe_whole("num_local_experts")
    experts = Experts(
        count=fields.whole("num_experts", 128 if count is None else count),
        experts_per_token=fields.whole("num_experts_per_tok", 8),
        normalize_weights=fields.flag("norm_topk_prob", False),
    )
    width, every = fields.whole("moe_intermediate_size", 768), fields.whole("decoder_sparse_step", 1) or 1
    dense = set(fields.numbers("mlp_only_layers"))
    used = fields.flag("use_sliding_window", False)
    fields.ignore("max_window_layers")
    window = fields.whole("sliding_window", 4096)

    def change(number: int, block: Block) -> Block:
        if number in dense or (number + 1) % every:
            return block
        return replace(block, feed_forward=replace(block.feed_forward, width=width, experts=experts))

    return read_common(
        fields,
        attention=query_key_norm(fields),
        windows=read_layers(fields) * [window if used else None],
        groups=4,
        context=32768,
        change=change,
    )


def write(architecture: Architecture) -> dict[str, Any]:
    """The fields of `read`."""
    parts = [block.feed_forward for block in architecture.decoder.blocks]
    mixed, experts = experts_of(architecture)
    dense = [number for number, part in enumerate(parts) if part.experts is None]
    return {
        **write_common(architecture),
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


APART = table(
    {
        "feed_forward.router": "mlp.gate",
        "feed_forward.gate": by_rank("mlp.gate_proj", each_expert("mlp.experts.*.gate_proj")),
        "feed_forward.up": by_rank("mlp.up_proj", each_expert("mlp.experts.*.up_proj")),
        "feed_forward.down": by_rank("mlp.down_proj", each_expert("mlp.experts.*.down_proj")),
    }
)
FUSED = table(
    {
        "feed_forward.router": "mlp.gate",
        "feed_forward.gate": by_rank("mlp.gate_proj", stacked("mlp.experts.gate_up_proj", lambda rows: slice(0, rows))),
        "feed_forward.up": by_rank(
            "mlp.up_proj", stacked("mlp.experts.gate_up_proj", lambda rows: slice(rows, 2 * rows))
        ),
        "feed_forward.down": by_rank("mlp.down_proj", stacked("mlp.experts.down_proj", lambda rows: slice(0, rows))),
    }
)

FAMILY = Family(
    name="Qwen 3 MoE",
    model_types=("qwen3_moe",),
    class_name="Qwen3MoeForCausalLM",
    read=read,
    write=write,
    tables=lambda _: [APART, FUSED],
    prefix="model.",
)
