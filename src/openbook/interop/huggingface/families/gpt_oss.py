"""gpt-oss: attention sinks, every other layer with a window, biased experts with a clamped gate, YaRN."""

from typing import Any

from openbook.interop.huggingface.families.common import (
    experts_of,
    layer_types,
    read_common,
    read_layers,
    read_windows,
    table,
    window_of,
    write_common,
)
from openbook.interop.huggingface.family import Family
from openbook.interop.huggingface.fields import Fields
from openbook.interop.huggingface.tensor_mapping import Layout, stacked
from openbook.transformer.architecture import Architecture, Experts

STRETCH = {
    "rope_type": "yarn",
    "factor": 32.0,
    "beta_fast": 32.0,
    "beta_slow": 1.0,
    "truncate": False,
    "original_max_position_embeddings": 4096,
}


def read(fields: Fields) -> Architecture:
    """The weights may be packed as MXFP4, of which nothing is lost."""
    packed = fields.inside("quantization_config")
    if packed is not None:
        packed.only("quant_method", "mxfp4")
        packed.ignore("modules_to_not_convert")
        packed.only("dequantize", False, True)
        packed.finish()
    fields.only("hidden_act", "silu")
    fields.only("swiglu_alpha", 1.702)
    fields.ignore("experts_per_token", "initial_context_length", "rope_ntk_alpha")
    if "rope_parameters" not in fields and "rope_scaling" not in fields:
        fields = fields.with_default("rope_parameters", STRETCH)
    count = fields.whole("num_experts", 128)
    biased = fields.flag("attention_bias", True)
    default = [number % 2 == 0 for number in range(read_layers(fields))]
    window = fields.maybe_whole("sliding_window") if fields.written("sliding_window") else 128
    return read_common(
        fields,
        attention={"bias": biased, "output_bias": biased, "sinks": True},
        feed_forward={
            "bias": True,
            "limit": fields.number("swiglu_limit", 7.0),
            "up_offset": 1.0,
            "experts": Experts(
                count=fields.whole("num_local_experts", count),
                experts_per_token=fields.whole("num_experts_per_tok", 4),
                router_bias=True,
            ),
        },
        windows=read_windows(fields, default, window),
        base=150_000.0,
        groups=8,
        head_width=64,
        activations={"silu": "gelu_sigmoid"},
        context=131_072,
    )


def write(architecture: Architecture) -> dict[str, Any]:
    """The fields of `read`."""
    first = architecture.decoder.blocks[0]
    hidden, experts = experts_of(architecture)
    return {
        **write_common(architecture),
        "hidden_act": "silu",
        "attention_bias": first.attention.bias,
        "swiglu_limit": hidden.limit,
        "num_local_experts": experts.count,
        "num_experts_per_tok": experts.experts_per_token,
        "sliding_window": window_of(architecture),
        "layer_types": layer_types(architecture),
    }


def _table(on_side: bool, packed: bool) -> dict[str, str | Layout]:
    """Gate and up take turns, row by row; packed matrices stand upright, others on their side."""

    def part(name: str, rows: Any) -> Layout:
        return stacked(name, rows, on_side=on_side, packed=packed)

    fused = "mlp.experts.gate_up_proj"
    return table(
        {
            "self_attention": "self_attn",
            "feed_forward.router": "mlp.router",
            "feed_forward.gate": part(fused, lambda rows: slice(0, 2 * rows, 2)),
            "feed_forward.up": part(fused, lambda rows: slice(1, 2 * rows, 2)),
            "feed_forward.down": part("mlp.experts.down_proj", lambda rows: slice(0, rows)),
        }
    )


FAMILY = Family(
    name="gpt-oss",
    model_types=("gpt_oss",),
    class_name="GptOssForCausalLM",
    read=read,
    write=write,
    tables=lambda _: [_table(on_side=True, packed=False), _table(on_side=False, packed=True)],
    prefix="model.",
)
