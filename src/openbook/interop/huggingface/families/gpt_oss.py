"""gpt-oss: attention sinks, every other layer with a window, biased experts with a clamped gate, YaRN."""

from typing import Any

from openbook.interop.huggingface.families.common import ABSENT as COMMON
from openbook.interop.huggingface.families.common import (
    Traits,
    experts_of,
    layer_types,
    read_common,
    read_layers,
    read_windows,
    table,
    window_of,
    write_common,
    write_experts_implementation,
)
from openbook.interop.huggingface.family import Family
from openbook.interop.huggingface.fields import ConfigFields
from openbook.interop.huggingface.tensor_mapping import KeyTable, TensorLayout, stacked_experts
from openbook.transformer.architecture import Architecture, Experts

YARN = {
    "rope_type": "yarn",
    "factor": 32.0,
    "beta_fast": 32.0,
    "beta_slow": 1.0,
    "truncate": False,
    "original_max_position_embeddings": 4096,
}


ABSENT = {
    **COMMON,
    "vocab_size": 201088,
    "hidden_size": 2880,
    "intermediate_size": 2880,
    "num_hidden_layers": 36,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "max_position_embeddings": 131072,
    "head_dim": 64,
    "rms_norm_eps": 1e-05,
    "rope_theta": 150000.0,
    "sliding_window": 128,
}

TRAITS = Traits(activations={"silu": "gelu_sigmoid"})


def read(config: ConfigFields) -> Architecture:
    """The weights may be MXFP4, whose numbers are kept exactly."""
    quantization = config.nested("quantization_config")
    if quantization is not None:
        quantization.only("quant_method", "mxfp4")
        quantization.ignore("modules_to_not_convert")
        quantization.only("dequantize", False, True)
        quantization.finish()
    config.only("hidden_act", "silu")
    config.only("swiglu_alpha", 1.702)
    config.ignore("experts_per_token", "initial_context_length", "rope_ntk_alpha")
    if "rope_parameters" not in config and "rope_scaling" not in config:
        config.null_as_absent("rope_parameters").with_defaults({"rope_parameters": YARN})
    count = config.integer("num_experts", 128)
    biased = config.boolean("attention_bias", True)
    default = [number % 2 == 0 for number in range(read_layers(config))]
    return read_common(
        config,
        TRAITS,
        attention={"bias": biased, "output_bias": biased, "sinks": True},
        feed_forward={
            "bias": True,
            "limit": config.number("swiglu_limit", 7.0),
            "up_offset": 1.0,
            "experts": Experts(
                count=config.integer("num_local_experts", count),
                experts_per_token=config.integer("num_experts_per_tok", 4),
                router_bias=True,
            ),
        },
        windows=read_windows(config, default, config.optional_integer("sliding_window")),
    )


def write(architecture: Architecture) -> dict[str, Any]:
    """The fields of `read`."""
    first = architecture.decoder.blocks[0]
    hidden, experts = experts_of(architecture)
    return {
        **write_common(architecture),
        **write_experts_implementation(architecture),
        "hidden_act": "silu",
        "attention_bias": first.attention.bias,
        "swiglu_limit": hidden.limit,
        "num_local_experts": experts.count,
        "num_experts_per_tok": experts.experts_per_token,
        "sliding_window": window_of(architecture) or 128,  # a size is wanted even where no layer has a window
        "layer_types": layer_types(architecture),
    }


def _table(transposed: bool, mxfp4: bool) -> KeyTable:
    """Gate and up alternate row by row; 4-bit matrices are (out, in), others (in, out)."""

    def part(name: str, rows: Any) -> TensorLayout:
        return stacked_experts(name, rows, transposed=transposed, mxfp4=mxfp4)

    gate_and_up = "mlp.experts.gate_up_proj"
    return table(
        {
            "self_attention": "self_attn",
            "feed_forward.router": "mlp.router",
            "feed_forward.gate": part(gate_and_up, lambda rows: slice(0, 2 * rows, 2)),
            "feed_forward.up": part(gate_and_up, lambda rows: slice(1, 2 * rows, 2)),
            "feed_forward.down": part("mlp.experts.down_proj", lambda rows: slice(0, rows)),
        }
    )


FAMILY = Family(
    name="gpt-oss",
    model_types=("gpt_oss",),
    class_name="GptOssForCausalLM",
    absent=ABSENT,
    read=read,
    write=write,
    tables=lambda _: [_table(transposed=True, mxfp4=False), _table(transposed=False, mxfp4=True)],
    prefix="model.",
)
