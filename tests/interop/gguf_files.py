"""Small GGUF files of random transformers models, as llama.cpp's converter writes them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
import transformers
from tokenizers.pre_tokenizers import ByteLevel

WIDTH, HEADS, GROUPS, LAYERS, VOCABULARY, CONTEXT = 32, 4, 2, 2, 300, 64
CHARACTERS = sorted(ByteLevel.alphabet())
TOKENS = [*CHARACTERS, "th", "the", "Ġthe", "<|end|>", "<|begin|>"]
TOKENS += [f"unused{number}" for number in range(VOCABULARY - len(TOKENS))]
MERGES = ["t h", "th e", "Ġ the"]

USUAL = {
    "vocab_size": VOCABULARY, "hidden_size": WIDTH, "intermediate_size": 64, "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS, "num_key_value_heads": GROUPS, "max_position_embeddings": CONTEXT,
    "initializer_range": 0.3, "rms_norm_eps": 1e-5,
}  # fmt: skip

# Class of transformers, its configuration, the architecture of llama.cpp, and fields besides the usual ones.
MODELS: dict[str, tuple[str, dict[str, Any], str, dict[str, Any]]] = {
    "llama": ("Llama", {**USUAL, "tie_word_embeddings": False}, "llama", {}),
    "llama, tied, linear": (
        "Llama", {**USUAL, "tie_word_embeddings": True, "rope_parameters":
        {"rope_type": "linear", "factor": 2.0, "rope_theta": 500.0}}, "llama",
        {"rope.scaling.type": "linear", "rope.scaling.factor": 2.0, "rope.freq_base": 500.0},
    ),
    "llama 3": (
        "Llama", {**USUAL, "rope_parameters": {"rope_type": "llama3", "factor": 8.0, "rope_theta": 500_000.0,
        "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}}, "llama",
        {"rope.freq_base": 500_000.0},
    ),
    "mistral": ("Mistral", {**USUAL, "sliding_window": 5}, "llama", {"attention.sliding_window": 5}),
    "mixtral": (
        "Mixtral", {**USUAL, "num_local_experts": 4, "num_experts_per_tok": 2}, "llama",
        {"expert_count": 4, "expert_used_count": 2, "rope.freq_base": 1e6},
    ),
    "qwen2": ("Qwen2", USUAL, "qwen2", {}),
    "qwen3": ("Qwen3", {**USUAL, "head_dim": 16}, "qwen3", {"attention.key_length": 16, "attention.value_length": 16}),
    "gemma": ("Gemma", {**USUAL, "head_dim": 16}, "gemma", {"attention.key_length": 16}),
    "gemma2": (
        "Gemma2", {**USUAL, "head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 5}, "gemma2",
        {"attention.key_length": 16, "attention.sliding_window": 5, "attn_logit_softcapping": 50.0,
         "final_logit_softcapping": 30.0},
    ),
    "gemma3": (
        "Gemma3", {**USUAL, "head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 5, "num_hidden_layers": 6},
        "gemma3", {"attention.key_length": 16, "attention.sliding_window": 5, "rope.freq_base": 1e6},
    ),
    "gpt2": (
        "GPT2", {"vocab_size": VOCABULARY, "n_embd": WIDTH, "n_layer": LAYERS, "n_head": HEADS, "n_positions": CONTEXT,
                 "initializer_range": 0.3}, "gpt2", {},
    ),
}  # fmt: skip


def random_model(name: str) -> Any:
    """A transformers model whose norms and biases are random too."""
    kind, options, _, _ = MODELS[name]
    suffix = "TextConfig" if kind == "Gemma3" else "Config"
    head = "LMHeadModel" if kind == "GPT2" else "ForCausalLM"
    torch.manual_seed(1)
    config = getattr(transformers, f"{kind}{suffix}")(**options)
    config._attn_implementation = "eager"
    model = getattr(transformers, f"{kind}{head}")(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter += 0.2 * torch.randn_like(parameter)
    return model


def permuted(weight: np.ndarray, heads: int) -> np.ndarray:
    """Rows in which the pairs that are rotated together stand next to each other."""
    rows = weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:])
    return rows.swapaxes(1, 2).reshape(weight.shape)


@dataclass(frozen=True)
class Words:
    """A byte-level vocabulary, and the name of its pre-tokenizer."""

    pre: str | None = "gpt-2"
    tokens: tuple[str, ...] = tuple(TOKENS)
    merges: tuple[str, ...] = tuple(MERGES)


def write_tokenizer(writer: gguf.GGUFWriter, words: Words) -> None:
    """The fields of a vocabulary."""
    writer.add_tokenizer_model("gpt2")
    if words.pre is not None:
        writer.add_tokenizer_pre(words.pre)
    writer.add_token_list(words.tokens)
    writer.add_token_types([3 if token[:2] == "<|" else 1 for token in words.tokens])
    writer.add_token_merges(words.merges)
    writer.add_eos_token_id(words.tokens.index("<|end|>"))
    writer.add_bos_token_id(words.tokens.index("<|begin|>"))
    writer.add_add_bos_token(True)
    writer.add_chat_template("{{ bos_token }}{{ messages[-1].content }}")


def write_gguf(path: Path, name: str, model: Any, kind: str = "F32", words: Words = Words(), **how: Any) -> None:
    """The model as a GGUF file, matrices of this type; `how` are options of the library's writer."""
    _, options, arch, more = MODELS[name]
    writer = gguf.GGUFWriter(path, arch, **how)
    layers = options.get("num_hidden_layers", LAYERS)
    writer.add_block_count(layers)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(4 * WIDTH if arch == "gpt2" else 64)
    writer.add_head_count(HEADS)
    if arch == "gpt2":
        writer.add_layer_norm_eps(1e-5)
    else:
        writer.add_head_count_kv(GROUPS)
        writer.add_layer_norm_rms_eps(1e-5)
    for field, value in more.items():
        if isinstance(value, str):
            writer.add_string(f"{arch}.{field}", value)
        elif isinstance(value, int):
            writer.add_uint32(f"{arch}.{field}", value)
        else:
            writer.add_float32(f"{arch}.{field}", value)
    write_tokenizer(writer, words)
    for tensor, values in converted(model, arch, layers).items():
        quantised = kind if values.ndim > 1 and kind != "F32" else "F32"
        which = gguf.GGMLQuantizationType[quantised]
        writer.add_tensor(tensor, gguf.quants.quantize(values, which), raw_dtype=which)
    if name == "llama 3":
        inverse = model.model.rotary_emb.inv_freq.double()
        plain = 500_000.0 ** -(torch.arange(0, WIDTH // HEADS, 2).double() / (WIDTH // HEADS))
        writer.add_tensor("rope_freqs.weight", (plain / inverse).float().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def converted(model: Any, arch: str, layers: int) -> dict[str, np.ndarray]:
    """The tensors by llama.cpp's names, found by the library's own table."""
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH[arch.upper()], layers)
    tensors: dict[str, np.ndarray] = {}
    state = model.state_dict()
    tied = model.config.tie_word_embeddings
    for name, tensor in state.items():
        values = tensor.float().numpy()
        if name == "lm_head.weight" and tied:
            continue
        if name.endswith("mlp.experts.gate_up_proj"):
            block = name.split(".")[2]
            half = values.shape[1] // 2
            tensors[f"blk.{block}.ffn_gate_exps.weight"] = np.ascontiguousarray(values[:, :half])
            tensors[f"blk.{block}.ffn_up_exps.weight"] = np.ascontiguousarray(values[:, half:])
            continue
        if name.endswith("mlp.experts.down_proj"):
            tensors[f"blk.{name.split('.')[2]}.ffn_down_exps.weight"] = values
            continue
        if name.endswith("mlp.gate.weight"):
            tensors[f"blk.{name.split('.')[2]}.ffn_gate_inp.weight"] = values
            continue
        theirs = names.get_name(name, try_suffixes=(".weight", ".bias"))
        assert theirs is not None, name
        if arch == "llama" and ("q_proj" in name or "k_proj" in name):
            values = permuted(values, HEADS if "q_proj" in name else GROUPS)
        if arch.startswith("gemma") and "norm" in name:
            values = values + 1
        if arch == "gpt2" and name.endswith((".c_attn.weight", ".c_proj.weight", ".c_fc.weight")):
            values = np.ascontiguousarray(values.T)
        tensors[theirs] = values
    return tensors
