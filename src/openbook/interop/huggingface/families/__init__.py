"""One small file for each family of models: how its config.json is read and written, and where its tensors are.

A new family brings a file of its own, and is named below. Where an export could be written as several families, the
first is taken.
"""

from openbook.interop.huggingface.families import (
    bart,
    gemma,
    gemma2,
    gemma3,
    gpt2,
    gpt_oss,
    grok,
    llama,
    m2m_100,
    marian,
    mistral,
    mixtral,
    qwen2,
    qwen3,
    qwen3_moe,
    t5,
)

FAMILIES = (
    gpt2.FAMILY,
    llama.FAMILY,
    mistral.FAMILY,
    mixtral.FAMILY,
    gemma.FAMILY,
    gemma2.FAMILY,
    gemma3.FAMILY,
    qwen2.FAMILY,
    qwen3.FAMILY,
    qwen3_moe.FAMILY,
    grok.FAMILY,
    gpt_oss.FAMILY,
    t5.FAMILY,
    t5.MULTILINGUAL,
    bart.FAMILY,
    bart.MULTILINGUAL,
    marian.FAMILY,
    m2m_100.FAMILY,
)
