"""Grok-1: experts, soft caps, a norm before and after each sublayer, multipliers for embeddings, scores and logits."""

from dataclasses import replace
from typing import Any

from openbook.interop.huggingface.families.common import experts_of, read_common, table, write_common
from openbook.interop.huggingface.family import Family
from openbook.interop.huggingface.fields import Fields
from openbook.interop.huggingface.tensor_mapping import each_expert
from openbook.transformer.architecture import Architecture, Experts, Norm

ROOT_3 = 0.5773502691896257


def read(fields: Fields) -> Architecture:
    """By the published configuration; the shares of the chosen experts are not renormalised."""
    count = fields.whole("num_experts", 8)
    experts = Experts(
        count=fields.whole("num_local_experts", count),
        experts_per_token=fields.whole("num_experts_per_tok", 2),
        normalize_weights=False,
    )
    norm = Norm(epsilon=fields.number("rms_norm_eps", 1e-5))
    architecture = read_common(
        fields,
        attention={
            "scale": fields.number("attn_output_multiplier", 0.08838834764831845),
            "attention_softcap": fields.number("max_attn_value", 30.0),
        },
        feed_forward={"experts": experts},
        norm=norm,
        activations={"gelu": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh"},
        default_activation="gelu",
        groups=8,
        context=8192,
        tied=True,
        change=lambda number, block: replace(block, after=norm),
    )
    return replace(
        architecture,
        embedding_scale=fields.number("embedding_multiplier_scale", 78.38367176906169),
        logit_scale=fields.number("output_multiplier_scale", ROOT_3),
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
                "feed_forward.gate": each_expert("moe_block.experts.*.linear"),
                "feed_forward.up": each_expert("moe_block.experts.*.linear_v"),
                "feed_forward.down": each_expert("moe_block.experts.*.linear_1"),
            }
        )
    ],
    prefix="model.",
)
