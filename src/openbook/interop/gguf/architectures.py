"""GGUF: for each architecture of llama.cpp what its fields and tensors are in a folder of Hugging Face.

So a GGUF file goes through the same families as a folder does. The changes that llama.cpp makes to tensors on the way
are undone here: queries and keys rotated in turns, norms stored as 1 + weight, matrices on their side.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from openbook.errors import OpenbookError
from openbook.interop.gguf.weights import Change

BLOCK = {
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
QUERY_KEY_NORM = {"attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm"}
SANDWICH = {
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}
EXPERTS = {
    "ffn_gate_inp": "block_sparse_moe.gate",
    "ffn_gate_exps": "block_sparse_moe.experts.*.w1",
    "ffn_up_exps": "block_sparse_moe.experts.*.w3",
    "ffn_down_exps": "block_sparse_moe.experts.*.w2",
}


def names(block: Mapping[str, str]) -> dict[str, str]:
    """The file's modules → theirs, for most architectures."""
    whole = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
    return whole | {f"blk.#.{ours}": f"model.layers.#.{theirs}" for ours, theirs in block.items()}


GPT2_NAMES = {
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


@dataclass(frozen=True)
class Kind:
    """An architecture: how its fields become a config.json, and its tensors theirs.

    Attributes:
        config: the fields, without the architecture's name before them → config.json.
        names: the file's modules → theirs.
        changes: what is done to the tensors of some of the file's modules, from the config.json.
        back: the same the other way round.
        fields: config.json → the fields; the other way round from `config`.
    """

    config: Callable[["Given"], dict[str, Any]]
    names: Mapping[str, str]
    changes: Callable[[Mapping[str, Any]], Mapping[str, Change]] = field(default=lambda config: {})
    back: Callable[[Mapping[str, Any]], Mapping[str, Change]] = field(default=lambda config: {})
    fields: Callable[[Mapping[str, Any]], dict[str, Any]] = field(default=lambda config: write_common(config))


class Given:
    """The fields of one architecture, each taken once; what nobody takes is refused by name."""

    def __init__(self, fields: Mapping[str, Any], prefix: str, tensors: Mapping[str, Any]) -> None:
        self.prefix, self.tensors = prefix, tensors
        self._fields = {k.removeprefix(f"{prefix}."): v for k, v in fields.items() if k.startswith(f"{prefix}.")}
        self._taken: set[str] = set()

    def maybe(self, name: str, default: Any = None) -> Any:
        """A field, or the default."""
        self._taken.add(name)
        return self._fields.get(name, default)

    def number(self, name: str, default: float | None = None) -> Any:
        """A number that must be there, or have a default."""
        value = self.maybe(name, default)
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise OpenbookError(f"field {self.prefix}.{name}: should be a number; convert the file again")
        return value

    def finish(self) -> None:
        """Refuse what was not taken: it may change the result."""
        harmless = {"vocab_size", "rope.dimension_count", "tensor_data_layout", "attention.value_length"}
        for name in self._fields:
            if name not in self._taken | harmless:
                raise OpenbookError(
                    f"field {self.prefix}.{name}: is not understood and may change the result; upgrade openbook"
                )


def usual(given: Given, model_type: str) -> dict[str, Any]:
    """The fields of most architectures."""
    heads, width = given.number("attention.head_count"), given.number("embedding_length")
    head_width = given.maybe("attention.key_length")
    if head_width is None:
        head_width = given.maybe("rope.dimension_count") or (width // heads if heads else 0)
    if given.maybe("attention.value_length", head_width) != head_width:
        raise OpenbookError(f"field {given.prefix}.attention.value_length: differs from key_length; not supported")
    context = given.number("context_length")
    return {
        "model_type": model_type,
        "vocab_size": given.tensors["token_embd.weight"].shape[0] if "token_embd.weight" in given.tensors else 0,
        "hidden_size": width,
        "intermediate_size": given.number("feed_forward_length"),
        "num_hidden_layers": given.number("block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": given.number("attention.head_count_kv", heads),
        "head_dim": head_width,
        "rms_norm_eps": given.number("attention.layer_norm_rms_epsilon"),
        "rope_theta": given.number("rope.freq_base", 10_000.0),
        "rope_scaling": scaling(given, context),
        "max_position_embeddings": context,
        "tie_word_embeddings": "output.weight" not in given.tensors,
    }


def scaling(given: Given, context: int) -> dict[str, Any] | None:
    """How positions are stretched."""
    kind, factor = given.maybe("rope.scaling.type", "none"), given.maybe("rope.scaling.factor")
    original = given.maybe("rope.scaling.original_context_length")
    given.maybe("rope.scaling.finetuned")
    if kind == "linear":
        return {"rope_type": "linear", "factor": factor}
    if kind == "yarn":
        return {"rope_type": "yarn", "factor": factor, "original_max_position_embeddings": original or context}
    if kind != "none":
        raise OpenbookError(f"field {given.prefix}.rope.scaling.type: {kind!r} is not one of none, linear, yarn")
    return None


def llama(given: Given) -> dict[str, Any]:
    """Also of models with experts, and with a window."""
    experts, window = given.maybe("expert_count", 0), given.maybe("attention.sliding_window")
    config = usual(given, "mixtral" if experts else "llama" if window is None else "mistral")
    if experts:
        config |= {"num_local_experts": experts, "num_experts_per_tok": given.number("expert_used_count")}
    if experts or window is not None:
        config["sliding_window"] = window
    elif "blk.0.attn_q.bias" in given.tensors:
        config["attention_bias"] = True
    if "blk.0.ffn_gate.bias" in given.tensors:
        config["mlp_bias"] = True
    return config


BANDS = [(factor, 1.0, 4.0, 8192) for factor in (8.0, 32.0)]
"""The scalings in bands that are in use: factor, low and high frequency factor, original context."""


def frequency_bands(factors: torch.Tensor, base: float, width: int) -> dict[str, Any]:
    """The scaling in bands of which the file keeps only what each frequency is divided by, in `rope_freqs`.

    Raises OpenbookError where it is none of those in use.
    """
    waves = wave_lengths(base, width)
    for factor, low, high, original in BANDS:
        expected = divisors(waves, factor, low, high, original)
        if expected.shape == factors.shape and torch.allclose(expected, factors, rtol=1e-4):
            return {
                "rope_type": "llama3",
                "factor": factor,
                "low_freq_factor": low,
                "high_freq_factor": high,
                "original_max_position_embeddings": original,
            }
    raise OpenbookError("tensor rope_freqs.weight: scales positions in a way that is not known; it changes the result")


def wave_lengths(base: float, width: int) -> torch.Tensor:
    """Of the rotations of pairs, in tokens."""
    return 2 * math.pi * base ** (torch.arange(0, width, 2, dtype=torch.float64) / width)


def divisors(waves: torch.Tensor, factor: float, low: float, high: float, original: int) -> torch.Tensor:
    """What each frequency is divided by: 1 where waves are short, `factor` where they are long."""
    smooth = ((original / waves - low) / (high - low)).clamp(0, 1)
    return (1 / ((1 - smooth) / factor + smooth)).float()


def in_halves(heads: int) -> Change:
    """Rows of each head's queries or keys that are rotated interleaved → half-split."""

    def change(tensor: torch.Tensor) -> torch.Tensor:
        width = tensor.shape[0] // heads
        return tensor.view(heads, width // 2, 2, *tensor.shape[1:]).transpose(1, 2).reshape(tensor.shape)

    return change


def in_turns(heads: int) -> Change:
    """The other way round."""

    def change(tensor: torch.Tensor) -> torch.Tensor:
        width = tensor.shape[0] // heads
        return tensor.view(heads, 2, width // 2, *tensor.shape[1:]).transpose(1, 2).reshape(tensor.shape)

    return change


def _rotated(change: Callable[[int], Change]) -> Callable[[Mapping[str, Any]], dict[str, Change]]:
    return lambda config: {
        "blk.#.attn_q": change(config["num_attention_heads"]),
        "blk.#.attn_k": change(config["num_key_value_heads"]),
    }


def _added(amount: float, modules: Mapping[str, str]) -> Callable[[Mapping[str, Any]], dict[str, Change]]:
    """Norms stored as 1 + weight."""
    return lambda config: {name: lambda tensor: tensor + amount for name in modules if name.endswith("norm")}


def _on_side(config: Mapping[str, Any]) -> dict[str, Change]:
    modules = ("attn_qkv", "attn_output", "ffn_up", "ffn_down")
    return {f"blk.#.{name}": lambda tensor: tensor.mT if tensor.dim() > 1 else tensor for name in modules}


def gemma(given: Given) -> dict[str, Any]:
    """The first."""
    return usual(given, "gemma") | {"hidden_activation": "gelu_pytorch_tanh"}


def gemma2(given: Given) -> dict[str, Any]:
    """Soft caps; the scale of scores follows from the size, as in llama.cpp: the largest takes width / heads."""
    config = usual(given, "gemma2")
    largest = config["num_hidden_layers"] == 46
    scale = config["hidden_size"] // config["num_attention_heads"] if largest else config["head_dim"]
    return config | {
        "hidden_activation": "gelu_pytorch_tanh",
        "query_pre_attn_scalar": scale,
        "attn_logit_softcapping": given.maybe("attn_logit_softcapping", 50.0),
        "final_logit_softcapping": given.maybe("final_logit_softcapping", 30.0),
        "sliding_window": given.maybe("attention.sliding_window", 4096),
    }


def gemma3(given: Given) -> dict[str, Any]:
    """Two bases, of which the file keeps one; the largest takes width / heads for the scale."""
    config = usual(given, "gemma3_text")
    largest = config["num_hidden_layers"] == 62
    scale = config["hidden_size"] // config["num_attention_heads"] if largest else config["head_dim"]
    return config | {
        "hidden_activation": "gelu_pytorch_tanh",
        "query_pre_attn_scalar": scale,
        "final_logit_softcapping": given.maybe("final_logit_softcapping"),
        "sliding_window": given.maybe("attention.sliding_window", 1024),
        "rope_local_base_freq": given.maybe("rope.freq_base_swa", 10_000.0),
    }


def write_common(config: Mapping[str, Any]) -> dict[str, Any]:
    """The other way round from `usual`, and from what some families have besides."""
    head_width = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
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
    stretch = config.get("rope_scaling") or {}
    kind = stretch.get("rope_type")
    if kind in ("linear", "yarn"):
        written |= {"rope.scaling.type": kind, "rope.scaling.factor": float(stretch["factor"])}
        written["rope.scaling.original_context_length"] = stretch.get("original_max_position_embeddings")
    return written


def write_gpt2(config: Mapping[str, Any]) -> dict[str, Any]:
    """The other way round from `gpt2`."""
    return {
        "vocab_size": config["vocab_size"],
        "context_length": config["n_positions"],
        "embedding_length": config["n_embd"],
        "block_count": config["n_layer"],
        "feed_forward_length": config["n_inner"],
        "attention.head_count": config["n_head"],
        "attention.layer_norm_epsilon": float(config["layer_norm_epsilon"]),
    }


def frequencies(config: Mapping[str, Any]) -> torch.Tensor | None:
    """What `rope_freqs` holds for positions that are stretched in bands, else None."""
    stretch = config.get("rope_scaling") or {}
    if stretch.get("rope_type") != "llama3":
        return None
    waves = wave_lengths(config["rope_theta"], config["head_dim"])
    low, high, original = (
        stretch[name] for name in ("low_freq_factor", "high_freq_factor", "original_max_position_embeddings")
    )
    return divisors(waves, stretch["factor"], low, high, original)


def gpt2(given: Given) -> dict[str, Any]:
    """Learned positions."""
    return {
        "model_type": "gpt2",
        "vocab_size": given.tensors["token_embd.weight"].shape[0] if "token_embd.weight" in given.tensors else 0,
        "n_embd": given.number("embedding_length"),
        "n_layer": given.number("block_count"),
        "n_head": given.number("attention.head_count"),
        "n_inner": given.number("feed_forward_length"),
        "n_positions": given.number("context_length"),
        "layer_norm_epsilon": given.number("attention.layer_norm_epsilon"),
        "tie_word_embeddings": "output.weight" not in given.tensors,
    }


def _qwen(model_type: str) -> Callable[[Given], dict[str, Any]]:
    return lambda given: usual(given, model_type)


_GEMMA = names(BLOCK)
_SANDWICH = names({**BLOCK, **SANDWICH})
_SANDWICH_NORMED = names({**BLOCK, **SANDWICH, **QUERY_KEY_NORM})

KINDS: dict[str, Kind] = {
    "llama": Kind(llama, names({**BLOCK, **EXPERTS}), _rotated(in_halves), _rotated(in_turns)),
    "qwen2": Kind(_qwen("qwen2"), names(BLOCK)),
    "qwen3": Kind(_qwen("qwen3"), names({**BLOCK, **QUERY_KEY_NORM})),
    "gemma": Kind(gemma, _GEMMA, _added(-1.0, _GEMMA), _added(1.0, _GEMMA)),
    "gemma2": Kind(gemma2, _SANDWICH, _added(-1.0, _SANDWICH), _added(1.0, _SANDWICH)),
    "gemma3": Kind(gemma3, _SANDWICH_NORMED, _added(-1.0, _SANDWICH_NORMED), _added(1.0, _SANDWICH_NORMED)),
    "gpt2": Kind(gpt2, GPT2_NAMES, _on_side, _on_side, write_gpt2),
}
"""By the value of general.architecture."""

BYTE_LEVEL, PIECES = "gpt2", "llama"
"""The values of tokenizer.ggml.model that are known."""

FIRST = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_CASELESS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_LETTERS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"


def _by_case(contraction: str, digits: str) -> str:
    """Words by upper and lower case."""
    start = r"[^\r\n\p{L}\p{N}]?"
    words = f"{start}{_UPPER}*{_LOWER}+{contraction}|{start}{_UPPER}+{_LOWER}*{contraction}"
    return rf"{words}|{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"


@dataclass(frozen=True)
class Splits:
    """How a byte-level vocabulary finds words: patterns one after the other, and what else goes with its name."""

    patterns: tuple[str, ...]
    whole_words: bool = False
    beginning: bool = False
    unicode_form: str | None = None


SPLITS: dict[str, Splits] = {
    "gpt-2": Splits((FIRST,)),
    "smollm": Splits((r"\p{N}", FIRST)),
    "llama-bpe": Splits((rf"{_CASELESS}|{_LETTERS}|\p{{N}}{{1,3}}|{_REST}",), whole_words=True, beginning=True),
    "qwen2": Splits((rf"{_CASELESS}|{_LETTERS}|\p{{N}}|{_REST}",), unicode_form="NFC"),
    "tekken": Splits((_by_case("", r"\p{N}"),), whole_words=True, beginning=True),
    "gpt-4o": Splits((_by_case(f"{_CASELESS}?", r"\p{N}{1,3}"),), whole_words=True),
}
"""By the value of tokenizer.ggml.pre."""

SPLIT_OF = {"gpt2": "gpt-2"}
"""Where a file does not name its split: by the value of general.architecture."""

ARCHITECTURE_OF = {
    "gpt2": "gpt2",
    "llama": "llama",
    "mistral": "llama",
    "mixtral": "llama",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
    "gemma": "gemma",
    "gemma2": "gemma2",
    "gemma3_text": "gemma3",
}
"""The value of general.architecture by that of model_type."""
