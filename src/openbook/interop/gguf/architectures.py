"""The architectures of GGUF files that can be read and written: fields, tensor names and changes to tensors of each."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from openbook.interop.gguf import config, tensor_names
from openbook.interop.gguf.fields import GgufFields
from openbook.interop.gguf.rotary import half_split, interleaved
from openbook.interop.gguf.weights import TensorTransform

Transforms = Callable[[Mapping[str, Any]], Mapping[str, TensorTransform]]
"""config.json → what is done to the tensors of some of the file's modules."""


def _none(config: Mapping[str, Any]) -> Mapping[str, TensorTransform]:
    return {}


def _per_head(transform: Callable[[int], TensorTransform]) -> Transforms:
    """Of the rows of queries and keys."""
    return lambda config: {
        "blk.#.attn_q": transform(config["num_attention_heads"]),
        "blk.#.attn_k": transform(config["num_key_value_heads"]),
    }


def _add_to_norms(amount: float, modules: Mapping[str, str]) -> Transforms:
    """Files have norms as 1 + weight, folders as weight."""
    norms = [name for name in modules if name.endswith("norm")]
    return lambda config: {name: lambda tensor: tensor + amount for name in norms}


def _transpose(config: Mapping[str, Any]) -> Mapping[str, TensorTransform]:
    """Files have matrices as (out, in), folders as (in, out)."""
    modules = ("attn_qkv", "attn_output", "ffn_up", "ffn_down")
    return {f"blk.#.{name}": lambda tensor: tensor.mT if tensor.dim() > 1 else tensor for name in modules}


@dataclass(frozen=True)
class GgufArchitecture:
    """How an architecture's fields become a config.json, and its tensors those of a Hugging Face folder.

    Attributes:
        read: the fields → config.json.
        names: the file's modules → theirs.
        imported: what is done to tensors on the way in.
        exported: the inverse of that, on the way out.
        write: config.json → the fields.
    """

    read: Callable[[GgufFields], dict[str, Any]]
    names: Mapping[str, str]
    imported: Transforms = _none
    exported: Transforms = _none
    write: Callable[[Mapping[str, Any]], dict[str, Any]] = config.write_common


def _with_offset_norms(read: Callable[[GgufFields], dict[str, Any]], names: Mapping[str, str]) -> GgufArchitecture:
    return GgufArchitecture(read, names, _add_to_norms(-1.0, names), _add_to_norms(1.0, names))


ARCHITECTURES: dict[str, GgufArchitecture] = {
    "llama": GgufArchitecture(config.read_llama, tensor_names.EXPERTS, _per_head(half_split), _per_head(interleaved)),
    "qwen2": GgufArchitecture(config.read_as("qwen2"), tensor_names.COMMON),
    "qwen3": GgufArchitecture(config.read_as("qwen3"), tensor_names.QUERY_KEY_NORM),
    "gemma": _with_offset_norms(config.read_gemma, tensor_names.COMMON),
    "gemma2": _with_offset_norms(config.read_gemma2, tensor_names.SANDWICH_NORM),
    "gemma3": _with_offset_norms(config.read_gemma3, tensor_names.SANDWICH_AND_QUERY_KEY_NORM),
    "gpt2": GgufArchitecture(config.read_gpt2, tensor_names.GPT2, _transpose, _transpose, config.write_gpt2),
}
"""By the value of general.architecture."""

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
"""The value of `model_type` in a config.json → that of general.architecture."""
