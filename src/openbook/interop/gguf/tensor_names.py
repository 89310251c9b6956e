"""What the modules of a GGUF file are called in a Hugging Face folder: # is the number of a block, * of an expert."""

from collections.abc import Mapping

_BLOCK = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_QUERY_KEY_NORM = {"attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm"}
_SANDWICH_NORM = {
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}
_EXPERTS = {
    "ffn_gate_inp": "block_sparse_moe.gate",
    "ffn_gate_exps": "block_sparse_moe.experts.*.w1",
    "ffn_up_exps": "block_sparse_moe.experts.*.w3",
    "ffn_down_exps": "block_sparse_moe.experts.*.w2",
}


def _names(block: Mapping[str, str]) -> dict[str, str]:
    top = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
    return top | {f"blk.#.{gguf}": f"model.layers.#.{theirs}" for gguf, theirs in block.items()}


COMMON = _names(_BLOCK)
EXPERTS = _names({**_BLOCK, **_EXPERTS})
QUERY_KEY_NORM = _names({**_BLOCK, **_QUERY_KEY_NORM})
SANDWICH_NORM = _names({**_BLOCK, **_SANDWICH_NORM})
SANDWICH_AND_QUERY_KEY_NORM = _names({**_BLOCK, **_SANDWICH_NORM, **_QUERY_KEY_NORM})
GPT2 = {
    "token_embd": "transformer.wte",
    "position_embd": "transformer.wpe",
    "output_norm": "transformer.ln_f",
    "output": "lm_head",
    "blk.#.attn_norm": "transformer.h.#.ln_1",
    "blk.#.attn_qkv": "transformer.h.#.attn.c_attn",
    "blk.#.attn_output": "transformer.h.#.attn.c_proj",
    "blk.#.ffn_norm": "transformer.h.#.ln_2",
    "blk.#.ffn_up": "transformer.h.#.mlp.c_fc",
    "blk.#.ffn_down": "transformer.h.#.mlp.c_proj",
}


def module_of(tensor: str) -> tuple[str, str, str]:
    """blk.3.attn_q.weight → ("blk.#.attn_q", "3", "weight"); of a tensor outside the blocks the number is empty."""
    *parts, leaf = tensor.split(".")
    if parts and parts[0] == "blk" and len(parts) > 2 and parts[1].isdigit():
        return ".".join(["blk", "#", *parts[2:]]), parts[1], leaf
    return ".".join(parts), "", leaf


def gguf_name(theirs: str, names: Mapping[str, str]) -> str | None:
    """The file's tensor for one of theirs; None where there is none. Experts of a block share one tensor."""
    module, _, leaf = theirs.rpartition(".")
    parts = module.split(".")
    numbers = [part for part in parts if part.isdigit()]
    marks = iter("#*")
    pattern = ".".join(next(marks, "?") if part.isdigit() else part for part in parts)
    found = next((gguf for gguf, name in names.items() if name == pattern), None)
    return None if found is None else f"{found.replace('#', numbers[0] if numbers else '')}.{leaf}"
