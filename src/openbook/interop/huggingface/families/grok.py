"""Grok-1: experts, soft caps, a norm before and after each sublayer, multipliers for embeddings, scores and logits."""

from dataclasses import replace
from typing import Any

from openbook.interop.huggingface.families.common import ABSENT as COMMON
from openbook.interop.huggingface.families.common import (
    Traits,
    experts_of,
    read_common,
    sandwich,
    table,
    write_common,
)
from openbook.interop.huggingface.family import Family
from openbook.interop.huggingface.fields import ConfigFields
from openbook.interop.huggingface.tensor_mapping import separate_experts
from openbook.transformer.architecture import Architecture, Experts

OUTPUT_MULTIPLIER = 0.5773502691896257
ABSENT = {
    **COMMON,
    "num_key_value_heads": 8,
    "max_position_embeddings": 8192,
    "hidden_act": "gelu",
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": True,
}

TRAITS = Traits(activations={"gelu": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh"})


def read(config: ConfigFields) -> Architecture:
    """By the published configuration; the gate weights of the chosen experts are not normalized."""
    count = config.integer("num_experts", 8)
    experts = Experts(
        count=config.integer("num_local_experts", count),
        experts_per_token=config.integer("num_experts_per_tok", 2),
        normalize_weights=False,
    )
    architecture = read_common(
        config,
        TRAITS,
        attention={
            "scale": config.number("attn_output_multiplier", 0.08838834764831845),
            "attention_softcap": config.number("max_attn_value", 30.0),
        },
        feed_forward={"experts": experts},
        change=sandwich,
    )
    return replace(
        architecture,
        embedding_scale=config.number("embedding_multiplier_scale", 78.38367176906169),
        logit_scale=config.number("output_multiplier_scale", OUTPUT_MULTIPLIER),
    )


def write(architecture: Architecture) -> dict[str, Any]:
    """The fields of `read`."""
    first = architecture.decoder.blocks[0]
    _, experts = experts_of(architecture)
    return {
        **write_common(architecture),
        "hidden_act": "gelu",
        "num_experts": experts.count,
        "num_experts_per_tok": experts.experts_per_token,
        "attn_output_multiplier": first.attention.scale,
        "max_attn_value": first.attention.attention_softcap,
        "embedding_multiplier_scale": architecture.embedding_scale,
        "output_multiplier_scale": architecture.logit_scale,
    }


FAMILY = Family(
    name="Grok-1",
    model_types=("grok-1", "grok1", "grok"),
    class_name="Grok1ModelForCausalLM",
    absent=ABSENT,
    read=read,
    write=write,
    tables=lambda _: [
        table(
            {
                "self_attention.query": "attn.q_proj",
                "self_attention.key": "attn.k_proj",
                "self_attention.value": "attn.v_proj",
                "self_attention.output": "attn.o_proj",
                "self_attention_residual.before": "pre_attn_norm",
                "self_attention_residual.after": "post_attn_norm",
                "feed_forward_residual.before": "pre_moe_norm",
                "feed_forward_residual.after": "post_moe_norm",
                "feed_forward.router": "moe_block.gate",
                "feed_forward.gate": separate_experts("moe_block.experts.*.linear"),
                "feed_forward.up": separate_experts("moe_block.experts.*.linear_v"),
                "feed_forward.down": separate_experts("moe_block.experts.*.linear_1"),
            }
        )
    ],
    prefix="model.",
)
