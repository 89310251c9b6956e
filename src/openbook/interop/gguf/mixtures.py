"""Mixtures of types by llama.cpp's names: a few matrices, on which most depends, have more bits than the others.

The rule is llama.cpp's (`llama_tensor_get_type` in https://github.com/ggml-org/llama.cpp/blob/master/src/llama-quant.cpp)
for models without experts.
"""

from openbook.interop.gguf.tensor_names import module_of

MIXTURES = {"Q4_K_M": ("Q4_K", "Q5_K"), "Q5_K_M": ("Q5_K", "Q6_K")}
"""Name → the type of most matrices, and of those that join query, key and value."""

MORE = "Q6_K"
"""The type of the logits' matrix, and of the most telling ones of some blocks."""
TELLING = ("blk.#.attn_v", "blk.#.ffn_down", "blk.#.ffn_down_exps")


def type_of(dtype: str, name: str, blocks: int, logits: str) -> str:
    """The type of a matrix in a mixture; any other dtype is the type of all.

    Args:
        dtype: a mixture, or a type.
        name: of the tensor in the file.
        blocks: of the model.
        logits: the tensor that makes the logits.
    """
    if dtype not in MIXTURES:
        return dtype
    most, joined = MIXTURES[dtype]
    module, number, _ = module_of(name)
    if name == logits or (module in TELLING and _has_more_bits(int(number), blocks)):
        return MORE
    return joined if module == "blk.#.attn_qkv" else most


def _has_more_bits(block: int, blocks: int) -> bool:
    """The first and the last eighth of the blocks, and every third between them."""
    return block < blocks // 8 or block >= 7 * blocks // 8 or (block - blocks // 8) % 3 == 2
