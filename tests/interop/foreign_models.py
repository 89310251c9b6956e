"""Tiny random models of transformers, family by family, with and without each of their options; saved as folders."""

import json
from copy import deepcopy
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import torch
import transformers
from tokenizers import Tokenizer, decoders, models

from openbook.generation.cache.kv_cache import KVCache
from openbook.interop.importing import import_model
from openbook.model_file.file import build, load
from strategies import randomise

VOCABULARY = 61
END = 2
SIZES = {"vocab_size": VOCABULARY, "hidden_size": 24, "num_hidden_layers": 2, "intermediate_size": 40}
GROUPED = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8}
IDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": END}
COMMON = SIZES | GROUPED | IDS | {"max_position_embeddings": 96}
EVEN = COMMON | {"hidden_size": 32}
ALTERNATING = {"sliding_window": 4, "layer_types": ["sliding_attention", "full_attention"]}
EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}
FUSED = {"vocab_size": VOCABULARY, "n_embd": 24, "n_layer": 2, "n_head": 4, "n_positions": 96} | IDS


def rope(kind="default", base=1e4, **more):
    return {"rope_parameters": {"rope_type": kind, "rope_theta": base, **more}}


BANDED = rope("llama3", 100.0, factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0)
BANDED["rope_parameters"]["original_max_position_embeddings"] = 24
YARN = rope("yarn", 100.0, factor=4.0, original_max_position_embeddings=24)
TWO_BASES = {
    "rope_parameters": {
        "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
        "full_attention": {"rope_type": "linear", "rope_theta": 1e6, "factor": 8.0},
    }
}
CAPS = {"query_pre_attn_scalar": 3, "attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0}

# family, options covered: class of transformers, its configuration
CASES = {
    ("GPT-2", "plain"): ("GPT2", FUSED),
    ("GPT-2", "scores fall by layer, inner width, untied"): (
        "GPT2",
        FUSED | {"scale_attn_by_inverse_layer_idx": True, "n_inner": 40, "tie_word_embeddings": False},
    ),
    ("GPT-2", "unscaled scores, ReLU"): ("GPT2", FUSED | {"scale_attn_weights": False, "activation_function": "relu"}),
    ("Llama", "grouped, head width"): ("Llama", COMMON | rope(base=5e5)),
    ("Llama", "tied, ungrouped, biases"): (
        "Llama",
        COMMON | {"tie_word_embeddings": True, "num_key_value_heads": 4, "attention_bias": True, "mlp_bias": True},
    ),
    ("Llama", "rotary stretched by wavelength"): ("Llama", COMMON | BANDED),
    ("Llama", "rotary stretched evenly"): ("Llama", COMMON | rope("linear", factor=4.0)),
    ("Llama", "rotary stretched by length"): (
        "Llama",
        COMMON | rope("dynamic", 100.0, factor=2.0) | {"max_position_embeddings": 24},
    ),
    ("Llama", "YaRN"): ("Llama", COMMON | YARN),
    ("Llama", "YaRN, attention factor, unrounded"): (
        "Llama",
        COMMON
        | rope("yarn", 100.0, factor=4.0, original_max_position_embeddings=24)
        | {"rope_parameters": YARN["rope_parameters"] | {"attention_factor": 1.3, "truncate": False, "beta_fast": 8.0}},
    ),
    ("Mistral", "window"): ("Mistral", COMMON | {"sliding_window": 4}),
    ("Mistral", "no window"): ("Mistral", COMMON | {"sliding_window": None, "tie_word_embeddings": True}),
    ("Mixtral", "experts"): ("Mixtral", COMMON | EXPERTS),
    ("Mixtral", "experts, window"): ("Mixtral", COMMON | EXPERTS | {"sliding_window": 4, "num_experts_per_tok": 3}),
    ("Gemma", "plain"): ("Gemma", COMMON | {"num_key_value_heads": 1}),
    ("Gemma 2", "caps, alternating windows"): ("Gemma2", COMMON | ALTERNATING | CAPS),
    ("Gemma 2", "no caps, no windows"): (
        "Gemma2",
        COMMON
        | {"layer_types": ["full_attention"] * 2, "query_pre_attn_scalar": 8}
        | {"attn_logit_softcapping": None, "final_logit_softcapping": None},
    ),
    ("Gemma 3", "two bases, one stretched"): ("Gemma3Text", COMMON | ALTERNATING | TWO_BASES),
    ("Gemma 3", "logit cap, windows everywhere"): (
        "Gemma3Text",
        COMMON
        | {"sliding_window": 4, "layer_types": ["sliding_attention"] * 2}
        | {"query_pre_attn_scalar": 3, "final_logit_softcapping": 3.0},
    ),
    ("Qwen 2", "biases"): ("Qwen2", EVEN),
    ("Qwen 2", "later layers with windows, tied"): (
        "Qwen2",
        EVEN | {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1, "tie_word_embeddings": True},
    ),
    ("Qwen 3", "query-key norm"): ("Qwen3", COMMON | rope(base=1e6)),
    ("Qwen 3", "biases, tied"): ("Qwen3", COMMON | {"attention_bias": True, "tie_word_embeddings": True}),
    ("Qwen 3 MoE", "experts in all layers"): (
        "Qwen3Moe",
        COMMON | {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 12, "norm_topk_prob": True},
    ),
    ("Qwen 3 MoE", "some layers without experts, shares as they are"): (
        "Qwen3Moe",
        COMMON | {"num_experts": 5, "num_experts_per_tok": 3, "moe_intermediate_size": 12, "mlp_only_layers": [0]},
    ),
    ("gpt-oss", "sinks, windows, clamped experts, YaRN"): (
        "GptOss",
        COMMON
        | EXPERTS
        | ALTERNATING
        | {"swiglu_limit": 0.5}
        | {"rope_parameters": YARN["rope_parameters"] | {"truncate": False, "beta_fast": 32.0, "beta_slow": 1.0}},
    ),
    ("gpt-oss", "no biases in attention, no rope_scaling"): (
        "GptOss",
        COMMON | EXPERTS | rope() | {"attention_bias": False, "sliding_window": 3},
    ),
}


PAIR = {"vocab_size": VOCABULARY, "is_encoder_decoder": True, "decoder_start_token_id": 0, "pad_token_id": 0}
PAIR |= {"bos_token_id": 1, "eos_token_id": END}
RELATIVE = PAIR | {"d_model": 24, "d_kv": 8, "num_heads": 4, "d_ff": 40, "num_layers": 2, "num_decoder_layers": 3}
RELATIVE |= {"relative_attention_num_buckets": 8, "relative_attention_max_distance": 20}
GATED = RELATIVE | {"tie_word_embeddings": False}
SIDES = {
    f"{side}_{name}": size
    for side in ("encoder", "decoder")
    for name, size in {"layers": 2, "attention_heads": 4, "ffn_dim": 40}.items()
}
WORDS = PAIR | SIDES | {"d_model": 24, "max_position_embeddings": 96, "decoder_layers": 3, "forced_eos_token_id": None}
COUNTED = WORDS | {"pad_token_id": 1, "bos_token_id": 0, "decoder_start_token_id": 2}

PAIR_CASES = {
    ("T5", "tied, ReLU"): ("T5", RELATIVE),
    ("T5", "v1.1: gated GELU, untied"): ("T5", GATED | {"feed_forward_proj": "gated-gelu"}),
    ("T5", "v1.1: gated SiLU, tied"): ("T5", GATED | {"feed_forward_proj": "gated-silu"}),
    ("mT5", "gated GELU, untied"): ("MT5", GATED),
    ("BART", "post-norm"): ("Bart", WORDS),
    ("BART", "scaled embeddings, ReLU"): ("Bart", WORDS | {"scale_embedding": True, "activation_function": "relu"}),
    ("mBART", "pre-norm, scaled embeddings"): ("MBart", WORDS | {"scale_embedding": True}),
    ("Marian", "one embedding, swish"): ("Marian", WORDS | {"activation_function": "swish", "scale_embedding": True}),
    ("Marian", "two vocabularies"): (
        "Marian",
        WORDS | {"share_encoder_decoder_embeddings": False, "vocab_size": 50, "decoder_vocab_size": VOCABULARY},
    ),
    ("M2M-100", "scaled embeddings, ReLU"): ("M2M100", COUNTED),
    ("M2M-100", "unscaled"): ("M2M100", COUNTED | {"scale_embedding": False, "activation_function": "gelu"}),
}


def make_theirs(kind, options, seed=0):
    """Their model, with random weights of a size that matters."""
    torch.manual_seed(seed)
    config = getattr(transformers, f"{kind}Config")(**options)
    auto = transformers.AutoModelForSeq2SeqLM if config.is_encoder_decoder else transformers.AutoModelForCausalLM
    model = auto.from_config(config, attn_implementation="eager").eval()
    waves = {name: p.clone() for name, p in model.named_parameters() if kind == "Marian" and "embed_positions" in name}
    randomise(model)
    for name, wave in waves.items():  # these are worked out, not learnt
        model.get_parameter(name).data.copy_(wave)
    for name, buffer in model.named_buffers():
        if name == "final_logits_bias":
            buffer.copy_(torch.randn(buffer.shape))
    return model


def untie(theirs):
    """Give the logits a matrix of their own."""
    theirs.lm_head.weight = torch.nn.Parameter(torch.randn(theirs.lm_head.weight.shape) / 5)
    return theirs


def write_tokenizer(folder, size=VOCABULARY):
    """Any tokenizer with an end token."""
    words = {f"w{number}": number for number in range(3, size)} | {"<pad>": 0, "<s>": 1, "</s>": END}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="w3"))
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens(["<pad>", "<s>", "</s>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    names = {"eos_token": "</s>", "bos_token": "<s>", "pad_token": "<pad>"}
    (folder / "tokenizer_config.json").write_text(json.dumps({**names, "tokenizer_class": "PreTrainedTokenizerFast"}))


def save_folder(theirs, folder, size=VOCABULARY, **options):
    """A folder as people have them."""
    theirs.save_pretrained(folder, **options)
    write_tokenizer(folder, size)
    return folder


made: list[Path] = []
"""Folders to take away at the end."""


def pair(case):
    """Their model, the folder it was saved in, and ours imported from there."""
    theirs, folder, ours = made_pair(case)
    # A model of theirs with stretched positions keeps the longest length it has seen, and computes otherwise from then.
    return deepcopy(theirs), folder, ours


@cache
def made_pair(case):
    """What `pair` gives, made once."""
    theirs = make_theirs(*{**CASES, **PAIR_CASES}[case])
    if "untied" in case[1] and case[0] != "GPT-2":
        untie(theirs)
    made.append(Path(mkdtemp(prefix="openbook-families-")))
    folder = save_folder(theirs, made[-1])
    return theirs, folder, imported(folder)


def imported(folder, name="model.openbook"):
    """Our model from a folder."""
    import_model(folder, folder / name, overwrite=True)
    metadata, tensors = load(folder / name)
    return build(metadata.architecture, tensors)


def cache_for(model):
    return KVCache(len(model.decoder.blocks))
