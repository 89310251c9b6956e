"""The same weights, the same tokens, the same logits as transformers: tiny random models of shapes that no family has.

Those that can be imported are compared in tests/interop/huggingface/test_families.py.
"""

import pytest
import torch
import transformers

from openbook.generation.cache.kv_cache import KVCache
from openbook.trace import trace
from openbook.transformer.mask import positions_of
from parity import mappings
from strategies import difference, randomise

LIMIT = 1e-4
LENGTH = 12
SIZES = {"vocab_size": 61, "hidden_size": 24, "num_hidden_layers": 3, "intermediate_size": 40}
GROUPED = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8}
COMMON = SIZES | GROUPED | {"max_position_embeddings": 32, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
FUSED = {"vocab_size": 61, "n_embd": 24, "n_layer": 3, "n_head": 4, "n_positions": 32, "bos_token_id": 1} | {
    "eos_token_id": 2
}


def rotary(base, **more):
    return {"rope_parameters": {"rope_type": "default", "rope_theta": base, **more}}


# name: (mapping, class of transformers, its configuration)
MODELS = {
    "smollm3": (mappings.smollm3, "SmolLM3", COMMON | {"hidden_size": 32, "no_rope_layers": [1, 0, 1]}),
    "granite": (
        mappings.granite,
        "Granite",
        COMMON
        | {"hidden_size": 32, "embedding_multiplier": 3.0, "logits_scaling": 2.0}
        | {"residual_multiplier": 0.3, "attention_multiplier": 0.2},
    ),
    "nemotron": (mappings.nemotron, "Nemotron", COMMON | rotary(1e4, partial_rotary_factor=1.0)),
    "starcoder2": (mappings.starcoder2, "Starcoder2", COMMON | {"hidden_size": 32, "sliding_window": 5}),
    "gpt": (mappings.gpt, "OpenAIGPT", FUSED),
    "gpt_neo": (
        mappings.gpt_neo,
        "GPTNeo",
        {"vocab_size": 61, "hidden_size": 24, "num_layers": 3, "num_heads": 4, "max_position_embeddings": 32}
        | {"attention_types": [[["global", "local"], 1], [["global"], 1]], "window_size": 4}
        | {"bos_token_id": 1, "eos_token_id": 2},
    ),
    "opt": (
        mappings.opt,
        "OPT",
        SIZES | {"num_attention_heads": 4, "ffn_dim": 40, "max_position_embeddings": 32, "word_embed_proj_dim": 24},
    ),
}

PADDINGS = {
    "none": [[1] * LENGTH, [1] * LENGTH],
    "left": [[0] * 5 + [1] * 7, [1] * LENGTH, [0] * 11 + [1]],
    "right": [[1] * 7 + [0] * 5, [1] * LENGTH, [1] + [0] * 11],
}


def pair(name):
    """Their model with random weights of a size that matters, and ours with the same."""
    mapping, family, options = MODELS[name]
    config = getattr(transformers, f"{family}Config")(**options)
    theirs = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    randomise(theirs)
    return theirs, mapping(theirs)


@torch.no_grad()
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("name", MODELS)
def test_logits_are_theirs(name, padding, record_property):
    theirs, ours = pair(name)
    real = torch.tensor(PADDINGS[padding], dtype=torch.bool)
    tokens = torch.randint(3, 61, real.shape).where(real, 0)
    positions = positions_of(real)
    expected = theirs(tokens, attention_mask=real.long(), position_ids=positions.clamp(min=0)).logits[real]
    assert expected.std() > 0.3  # logits near zero would agree with anything

    given = None if padding == "none" else positions
    fused = ours(tokens, given)[real]
    with trace(ours):
        readable = ours(tokens, given)[real]
    cache = KVCache(len(ours.decoder.blocks))
    parts = [ours(tokens[:, :7], positions[:, :7], cache=cache), ours(tokens[:, 7:], positions[:, 7:], cache=cache)]
    cached = torch.cat(parts, dim=1)[real]

    greatest = max(float((each - expected).abs().max()) for each in (fused, readable, cached))
    record_property("greatest difference", greatest)
    print(f"{name}, padding {padding}: {greatest:.1e} of logits up to {float(expected.abs().max()):.1f}")
    assert greatest <= LIMIT
    assert difference(readable, fused) <= 1e-5
