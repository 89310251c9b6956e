"""The fields of a GGUF file ↔ those of a config.json, architecture by architecture."""

from collections.abc import Callable, Mapping
from typing import Any

from openbook.interop.gguf.fields import GgufFields


def read_common(fields: GgufFields, model_type: str) -> dict[str, Any]:
    """The fields that most architectures have."""
    heads, width = fields.number("attention.head_count"), fields.number("embedding_length")
    head_width = fields.optional("attention.key_length")
    if head_width is None:
        head_width = fields.optional("rope.dimension_count") or (width // heads if heads else 0)
    if fields.optional("attention.value_length", head_width) != head_width:
        raise fields.error("attention.value_length", "differs from key_length; not supported")
    context = fields.number("context_length")
    return {
        "model_type": model_type,
        "vocab_size": fields.vocab_size,
        "hidden_size": width,
        "intermediate_size": fields.number("feed_forward_length"),
        "num_hidden_layers": fields.number("block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": fields.number("attention.head_count_kv", heads),
        "head_dim": head_width,
        "rms_norm_eps": fields.number("attention.layer_norm_rms_epsilon"),
        "rope_theta": fields.number("rope.freq_base", 10_000.0),
        "rope_scaling": _read_rope_scaling(fields, context),
        "max_position_embeddings": context,
        "tie_word_embeddings": fields.tied,
    }


def _read_rope_scaling(fields: GgufFields, context: int) -> dict[str, Any] | None:
    kind, factor = fields.optional("rope.scaling.type", "none"), fields.optional("rope.scaling.factor")
    original = fields.optional("rope.scaling.original_context_length")
    fields.optional("rope.scaling.finetuned")
    if kind == "linear":
        return {"rope_type": "linear", "factor": factor}
    if kind == "yarn":
        return {"rope_type": "yarn", "factor": factor, "original_max_position_embeddings": original or context}
    if kind != "none":
        raise fields.error("rope.scaling.type", f"{kind!r} is not one of none, linear, yarn")
    return None


def write_common(config: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that `read_common` and its callers read; None where there is nothing to write."""
    head_width = head_width_of(config)
    written = {
        "vocab_size": config["vocab_size"],
        "context_length": config["max_position_embeddings"],
        "embedding_length": config["hidden_size"],
        "block_count": config["num_hidden_layers"],
        "feed_forward_length": config["intermediate_size"],
        "attention.head_count": config["num_attention_heads"],
        "attention.head_count_kv": config["num_key_value_heads"],
        "attention.key_length": head_width,
        "attention.value_length": head_width,
        "rope.dimension_count": head_width,
        "attention.layer_norm_rms_epsilon": float(config["rms_norm_eps"]),
        "rope.freq_base": float(config["rope_theta"]),
        "expert_count": config.get("num_local_experts"),
        "expert_used_count": config.get("num_experts_per_tok"),
        "attention.sliding_window": config.get("sliding_window"),
        "attn_logit_softcapping": config.get("attn_logit_softcapping"),
        "final_logit_softcapping": config.get("final_logit_softcapping"),
    }
    scaling = config.get("rope_scaling") or {}
    kind = scaling.get("rope_type")
    if kind in ("linear", "yarn"):
        written |= {"rope.scaling.type": kind, "rope.scaling.factor": float(scaling["factor"])}
        written["rope.scaling.original_context_length"] = scaling.get("original_max_position_embeddings")
    return written


def head_width_of(config: Mapping[str, Any]) -> int:
    """The width of a head, also where a config.json leaves it out."""
    return int(config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"])


def read_llama(fields: GgufFields) -> dict[str, Any]:
    """Also Mistral, which has a window, and Mixtral, which has experts."""
    experts, window = fields.optional("expert_count", 0), fields.optional("attention.sliding_window")
    config = read_common(fields, "mixtral" if experts else "llama" if window is None else "mistral")
    if experts:
        config |= {"num_local_experts": experts, "num_experts_per_tok": fields.number("expert_used_count")}
    if experts or window is not None:
        config["sliding_window"] = window
    elif "blk.0.attn_q.bias" in fields.shapes:
        config["attention_bias"] = True
    if "blk.0.ffn_gate.bias" in fields.shapes:
        config["mlp_bias"] = True
    return config


def read_as(model_type: str) -> Callable[[GgufFields], dict[str, Any]]:
    """A reader of architectures that have the common fields alone."""
    return lambda fields: read_common(fields, model_type)


def read_gemma(fields: GgufFields) -> dict[str, Any]:
    """The first Gemma."""
    return read_common(fields, "gemma") | {"hidden_activation": "gelu_pytorch_tanh"}


def read_gemma2(fields: GgufFields) -> dict[str, Any]:
    """Soft caps; the scale of scores is not in the file."""
    config = read_common(fields, "gemma2")
    return config | {
        "hidden_activation": "gelu_pytorch_tanh",
        "query_pre_attn_scalar": _query_scalar(config, layers_of_largest=46),
        "attn_logit_softcapping": fields.optional("attn_logit_softcapping", 50.0),
        "final_logit_softcapping": fields.optional("final_logit_softcapping", 30.0),
        "sliding_window": fields.optional("attention.sliding_window", 4096),
    }


def read_gemma3(fields: GgufFields) -> dict[str, Any]:
    """Two rotary bases, of which the file keeps one."""
    config = read_common(fields, "gemma3_text")
    return config | {
        "hidden_activation": "gelu_pytorch_tanh",
        "query_pre_attn_scalar": _query_scalar(config, layers_of_largest=62),
        "final_logit_softcapping": fields.optional("final_logit_softcapping"),
        "sliding_window": fields.optional("attention.sliding_window", 1024),
        "rope_local_base_freq": fields.optional("rope.freq_base_swa", 10_000.0),
    }


def _query_scalar(config: Mapping[str, Any], layers_of_largest: int) -> int:
    """As llama.cpp infers it: the head width, but width / heads in the largest model of the family."""
    if config["num_hidden_layers"] == layers_of_largest:
        return int(config["hidden_size"] // config["num_attention_heads"])
    return int(config["head_dim"])


def read_gpt2(fields: GgufFields) -> dict[str, Any]:
    """Learned positions."""
    return {
        "model_type": "gpt2",
        "vocab_size": fields.vocab_size,
        "n_embd": fields.number("embedding_length"),
        "n_layer": fields.number("block_count"),
        "n_head": fields.number("attention.head_count"),
        "n_inner": fields.number("feed_forward_length"),
        "n_positions": fields.number("context_length"),
        "layer_norm_epsilon": fields.number("attention.layer_norm_epsilon"),
        "tie_word_embeddings": fields.tied,
    }


def write_gpt2(config: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that `read_gpt2` reads."""
    return {
        "vocab_size": config["vocab_size"],
        "context_length": config["n_positions"],
        "embedding_length": config["n_embd"],
        "block_count": config["n_layer"],
        "feed_forward_length": config["n_inner"],
        "attention.head_count": config["n_head"],
        "attention.layer_norm_epsilon": float(config["layer_norm_epsilon"]),
    }
