"""Options of families: whatever legal fields a config.json has, lacks or has as null, logits are transformers' own."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
import transformers
from foreign_models import (
    ALTERNATING,
    BANDED,
    COMMON,
    COUNTED,
    EVEN,
    EXPERTS,
    FUSED,
    RELATIVE,
    TWO_BASES,
    VOCABULARY,
    WORDS,
    YARN,
    imported,
    make_theirs,
    rope,
    save_folder,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from openbook.errors import OpenbookError
from openbook.interop.huggingface.families.registry import FAMILIES, read_architecture
from openbook.interop.huggingface.fields import ConfigFields
from strategies import difference

ABSENT, NULL = "absent", None
WORDS_FOR_ACTIVATIONS = ["silu", "gelu", "gelu_new", "gelu_pytorch_tanh", "relu", "relu2", "quick_gelu", ABSENT]
FLAG = [True, False, ABSENT]
EPSILON = [1e-2, ABSENT]
WINDOW = [4, NULL]
KINDS = [["sliding_attention", "full_attention"], ["full_attention"] * 2, NULL, ABSENT]
UNROUNDED = {"rope_parameters": YARN["rope_parameters"] | {"truncate": None, "beta_fast": 8.0}}
ROTARY = [each["rope_parameters"] for each in (rope(base=100.0), BANDED, YARN, UNROUNDED)] + [NULL, ABSENT]
DECODER = {
    "rms_norm_eps": EPSILON,
    "hidden_act": WORDS_FOR_ACTIVATIONS,
    "tie_word_embeddings": FLAG,
    "rope_parameters": ROTARY,
    "num_key_value_heads": [1, 2, NULL],
    "max_position_embeddings": [24, ABSENT],
}
GEMMA = DECODER | {"attention_bias": FLAG, "num_key_value_heads": [1, 2]}
LATER = {"use_sliding_window": FLAG, "sliding_window": [4, NULL, ABSENT], "max_window_layers": [0, 1, ABSENT]}
LATER |= {"layer_types": KINDS}
SEQUENCES = {"activation_function": WORDS_FOR_ACTIVATIONS, "scale_embedding": FLAG}
T5_OPTIONS = {
    "feed_forward_proj": ["relu", "gelu", "gated-gelu", "gated-silu", "gated-relu", ABSENT],
    "dense_act_fn": ["gelu", "relu", "silu", "gelu_new", ABSENT],
    "layer_norm_epsilon": EPSILON,
    "relative_attention_num_buckets": [8, ABSENT],
    "relative_attention_max_distance": [20, ABSENT],
    "num_decoder_layers": [3, NULL, ABSENT],
}

# name: class of transformers, fields that are always there, the values that others are drawn from
OPTIONS = {
    "GPT-2": (
        "GPT2",
        FUSED,
        {
            "activation_function": WORDS_FOR_ACTIVATIONS,
            "layer_norm_epsilon": EPSILON,
            "n_inner": [40, NULL, ABSENT],
            "scale_attn_weights": FLAG,
            "scale_attn_by_inverse_layer_idx": FLAG,
            "tie_word_embeddings": FLAG,
        },
    ),
    "Llama": ("Llama", EVEN, DECODER | {"head_dim": [8, NULL, ABSENT], "attention_bias": FLAG, "mlp_bias": FLAG}),
    "Mistral": ("Mistral", EVEN, DECODER | {"head_dim": [8, NULL, ABSENT], "sliding_window": [4, NULL, ABSENT]}),
    "Mixtral": ("Mixtral", EVEN | EXPERTS, DECODER | {"sliding_window": [4, NULL, ABSENT], "head_dim": [8, ABSENT]}),
    "Gemma": ("Gemma", COMMON, GEMMA | {"head_dim": [8, ABSENT]}),
    "Gemma 2": (
        "Gemma2",
        COMMON | ALTERNATING,
        GEMMA
        | {"hidden_act": [ABSENT], "hidden_activation": WORDS_FOR_ACTIVATIONS, "query_pre_attn_scalar": [3, ABSENT]}
        | {"attn_logit_softcapping": [2.0, NULL, ABSENT], "final_logit_softcapping": [3.0, NULL, ABSENT]}
        | {"layer_types": KINDS, "sliding_window": [4, ABSENT]},
    ),
    "Gemma 3": (
        "Gemma3Text",
        COMMON | ALTERNATING,
        GEMMA
        | {"hidden_act": [ABSENT], "hidden_activation": WORDS_FOR_ACTIVATIONS, "query_pre_attn_scalar": [3, ABSENT]}
        | {"final_logit_softcapping": [3.0, NULL, ABSENT], "layer_types": KINDS, "sliding_window": [4, ABSENT]}
        | {"rope_parameters": [TWO_BASES["rope_parameters"], NULL, ABSENT]},
    ),
    "Qwen 2": ("Qwen2", EVEN, DECODER | LATER),
    "Qwen 3": ("Qwen3", COMMON, DECODER | LATER | {"attention_bias": FLAG, "head_dim": [8, ABSENT]}),
    "Qwen 3 MoE": (
        "Qwen3Moe",
        EVEN | {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 12},
        DECODER
        | {"use_sliding_window": FLAG, "sliding_window": [4, NULL, ABSENT], "norm_topk_prob": FLAG}
        | {"mlp_only_layers": [[0], NULL, ABSENT], "decoder_sparse_step": [2, ABSENT], "num_key_value_heads": [1, 2]},
    ),
    "gpt-oss": (
        "GptOss",
        COMMON | EXPERTS | ALTERNATING,
        DECODER
        | {"hidden_act": ["silu", ABSENT], "attention_bias": FLAG, "swiglu_limit": [0.5, ABSENT]}
        | {"layer_types": KINDS, "sliding_window": [4, ABSENT]},
    ),
    "T5": ("T5", RELATIVE, T5_OPTIONS),
    "mT5": ("MT5", RELATIVE, T5_OPTIONS),
    "BART": ("Bart", WORDS, SEQUENCES),
    "mBART": ("MBart", WORDS, SEQUENCES),
    "Marian": ("Marian", WORDS, SEQUENCES),
    "M2M-100": ("M2M100", COUNTED, SEQUENCES),
}
CLASSES = {name: f"{kind}Config" for name, (kind, _, _) in OPTIONS.items()}


@st.composite
def configurations(draw, name):
    """Fields of a config.json."""
    _, fixed, choices = OPTIONS[name]
    drawn = {field: draw(st.sampled_from(values)) for field, values in choices.items()}
    fields = {**fixed, **drawn}
    return {field: value for field, value in fields.items() if not (isinstance(value, str) and value == ABSENT)}


def logits(model, tokens, seq2seq):
    if seq2seq:
        return model(input_ids=tokens, decoder_input_ids=tokens.flip(1)).logits
    return model(tokens).logits


@torch.no_grad()
def compare(name, fields):
    """Import what transformers would compute with; the logits differ by at most 1e-5 of their size."""
    kind = OPTIONS[name][0]
    torch.manual_seed(0)
    try:
        theirs = make_theirs(kind, fields)
        tokens = torch.randint(3, VOCABULARY, (2, 12))
        expected = logits(theirs, tokens, theirs.config.is_encoder_decoder)
    except Exception:  # they refuse these options: nothing to compare with
        return False
    with TemporaryDirectory() as folder:
        save_folder(theirs, Path(folder))
        written = {"model_type": theirs.config.model_type, **fields}
        (Path(folder) / "config.json").write_text(json.dumps(written))
        ours = imported(Path(folder))
        found = ours(tokens.flip(1), source=tokens) if theirs.config.is_encoder_decoder else ours(tokens)
    assert difference(found, expected) <= 1e-5, written
    return True


@pytest.mark.parametrize("name", OPTIONS)
def test_drawn_options_mean_what_transformers_takes_them_for(name):
    compared = []

    @settings(max_examples=2)
    @given(configurations(name))
    def check(fields):
        compared.append(compare(name, fields))

    check()


def test_null_positions_of_gpt_oss_are_yarn():
    fields = {**OPTIONS["gpt-oss"][1], "max_position_embeddings": 24, "rope_parameters": None}
    assert compare("gpt-oss", fields)


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIONS)
def test_many_drawn_options_mean_what_transformers_takes_them_for(name):
    compared = []

    @settings(max_examples=60)
    @given(configurations(name))
    def check(fields):
        compared.append(compare(name, fields))

    check()
    assert sum(compared) >= 10


@pytest.mark.parametrize("family", [each for each in FAMILIES if each.name in CLASSES], ids=lambda each: each.name)
def test_absent_fields_have_the_defaults_of_the_familys_own_configuration(family):
    """Sizes too, which are too large to compute with."""
    theirs = getattr(transformers, CLASSES[family.name])()
    for field, value in family.absent.items():
        if field == "rope_theta" and family.name == "Gemma 3":
            assert value == theirs.rope_parameters["full_attention"]["rope_theta"]
        elif field == "rope_local_base_freq":
            assert value == theirs.rope_parameters["sliding_attention"]["rope_theta"]
        elif field == "rope_theta":
            assert value == theirs.rope_parameters["rope_theta"]
        elif not (field == "hidden_act" and hasattr(theirs, "hidden_activation")):
            assert getattr(theirs, field, None) == value or (field == "sliding_window" and "Qwen" in family.name), field
    read_architecture(family, ConfigFields({}))


@pytest.mark.parametrize("name", ["Qwen 2", "Qwen 3"])
def test_windows_that_are_switched_off_are_named(name):
    family = next(each for each in FAMILIES if each.name == name)
    fields = {"num_hidden_layers": 1, "layer_types": ["sliding_attention"], "use_sliding_window": False}
    with pytest.raises(OpenbookError, match=r"layer_types: .*use_sliding_window is not true; set it"):
        read_architecture(family, ConfigFields(fields))
