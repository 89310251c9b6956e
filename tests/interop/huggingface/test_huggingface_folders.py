"""Details of importing that no class of transformers shows: a family without one, MXFP4 weights, older spellings."""

import json
import math

import pytest
import torch
import torch.nn.functional as F
from foreign_models import COMMON, END, VOCABULARY, imported, make_theirs, pair, save_folder, write_tokenizer
from safetensors.torch import load_file, save_file
from transformers.integrations.mxfp4 import convert_moe_packed_tensors

from openbook.errors import OpenbookError
from openbook.interop.huggingface.families.registry import family_of, read_architecture
from openbook.interop.huggingface.fields import ConfigFields
from openbook.interop.huggingface.generation_config import read_generation_config, write_generation_config
from openbook.interop.huggingface.mxfp4 import dequantize_mxfp4
from openbook.interop.importing import import_model
from openbook.model_file.file import load
from openbook.transformer.mask import positions_of


def architecture_of(config):
    fields = ConfigFields(config)
    return read_architecture(family_of(fields), fields)


# Grok-1, by xai-org/grok-1's published model.py: written plainly, one token and one head after the other.

GROK = {
    "model_type": "grok-1",
    "architectures": ["Grok1ModelForCausalLM"],
    "auto_map": {"AutoModelForCausalLM": "modeling_grok1.Grok1ModelForCausalLM"},
    "vocab_size": VOCABULARY,
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "attn_output_multiplier": 0.3,
    "max_attn_value": 2.0,
    "embedding_multiplier_scale": 3.5,
    "output_multiplier_scale": 0.577,
    "max_position_embeddings": 96,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": True,
    "bos_token_id": 1,
    "eos_token_id": END,
    "pad_token_id": 0,
}


def grok_weights():
    torch.manual_seed(3)
    width, hidden, head = 24, 40, 6
    shapes = {"model.embed_tokens.weight": (VOCABULARY, width), "model.norm.weight": (width,)}
    for layer in range(2):
        at = f"model.layers.{layer}"
        shapes |= {f"{at}.attn.{n}_proj.weight": (h * head, width) for n, h in (("q", 4), ("k", 2), ("v", 2))}
        shapes[f"{at}.attn.o_proj.weight"] = (width, 4 * head)
        shapes |= {f"{at}.{norm}.weight": (width,) for norm in ("pre_attn_norm", "post_attn_norm")}
        shapes |= {f"{at}.{norm}.weight": (width,) for norm in ("pre_moe_norm", "post_moe_norm")}
        shapes[f"{at}.moe_block.gate.weight"] = (4, width)
        for expert in range(4):
            inside = f"{at}.moe_block.experts.{expert}"
            shapes |= {f"{inside}.{name}.weight": (hidden, width) for name in ("linear", "linear_v")}
            shapes[f"{inside}.linear_1.weight"] = (width, hidden)
    return {
        name: 1 + 0.2 * torch.randn(shape) if len(shape) == 1 else torch.randn(shape) / shape[-1] ** 0.5
        for name, shape in shapes.items()
    }


def grok_by_hand(w, tokens):
    def norm(x, name):
        return x / (x.square().mean() + 1e-5).sqrt() * w[f"{name}.weight"]

    def turned(x, position):
        angle = position * 10_000.0 ** (-torch.arange(3) / 3)
        first, second = x[:3], x[3:]
        return torch.cat((first * angle.cos() - second * angle.sin(), second * angle.cos() + first * angle.sin()))

    xs = [w["model.embed_tokens.weight"][token] * 3.5 for token in tokens]
    for layer in range(2):
        at = f"model.layers.{layer}"
        normed = [norm(x, f"{at}.pre_attn_norm") for x in xs]
        q, k, v = ([w[f"{at}.attn.{name}_proj.weight"] @ x for x in normed] for name in "qkv")
        for t, x in enumerate(xs):
            heads = []
            for h in range(4):
                query = turned(q[t][6 * h : 6 * h + 6], t)
                g = h // 2
                keys = [turned(k[s][6 * g : 6 * g + 6], s) for s in range(t + 1)]
                scores = torch.stack([2.0 * torch.tanh(query @ key * 0.3 / 2.0) for key in keys])
                weights = scores.softmax(0)
                heads.append(sum(weights[s] * v[s][6 * g : 6 * g + 6] for s in range(t + 1)))
            added = norm(w[f"{at}.attn.o_proj.weight"] @ torch.cat(heads), f"{at}.post_attn_norm")
            xs[t] = x + added
        for t, x in enumerate(xs):
            normed_x = norm(x, f"{at}.pre_moe_norm")
            chances = (w[f"{at}.moe_block.gate.weight"] @ normed_x).softmax(0)
            brought = torch.zeros(24)
            for expert in chances.argsort(descending=True)[:2].tolist():
                inside = f"{at}.moe_block.experts.{expert}"
                opened = F.gelu(w[f"{inside}.linear.weight"] @ normed_x, approximate="tanh")
                hidden = opened * (w[f"{inside}.linear_v.weight"] @ normed_x)
                brought = brought + chances[expert] * (w[f"{inside}.linear_1.weight"] @ hidden)
            xs[t] = x + norm(brought, f"{at}.post_moe_norm")
    return torch.stack([w["model.embed_tokens.weight"] @ norm(x, "model.norm") * 0.577 for x in xs])


@torch.no_grad()
def test_grok_is_its_published_description(tmp_path, record_property):
    weights = grok_weights()
    save_file(weights, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(GROK))
    write_tokenizer(tmp_path)
    ours, tokens = imported(tmp_path), [5, 17, 4, 33, 60, 5, 9]
    expected = grok_by_hand(weights, tokens)
    assert expected.std() > 0.2
    real = torch.tensor([[False] * 2 + [True] * 7, [True] * 7 + [False] * 2])
    rows = torch.tensor([[0, 0, *tokens], [*tokens, 0, 0]])
    each = [ours(torch.tensor([tokens]))[0], *(ours(rows, positions_of(real))[i][real[i]] for i in (0, 1))]
    greatest = max(float((one - expected).abs().max()) for one in each)
    record_property("greatest difference", greatest)
    print(f"| Grok-1 | experts, caps, sandwich norms, multipliers | {greatest:.1e} |")
    assert greatest <= 1e-4


def test_grok_as_it_was_published():
    published = GROK | {
        "vocab_size": 131072, "hidden_size": 6144, "intermediate_size": 32768, "num_hidden_layers": 64,
        "num_attention_heads": 48, "num_key_value_heads": 8, "num_experts": 8, "max_position_embeddings": 8192,
        "attn_output_multiplier": 0.08838834764831845, "max_attn_value": 30.0,
        "embedding_multiplier_scale": 78.38367176906169, "output_multiplier_scale": 0.5773502691896257,
    }  # fmt: skip
    architecture = architecture_of(published)
    attention = architecture.decoder.blocks[0].attention
    assert (attention.head_width, attention.attention_softcap) == (128, 30.0)
    assert attention.scale == pytest.approx(128**-0.5)
    assert architecture.embedding_scale == pytest.approx(6144**0.5)


# Packed weights.


def test_mxfp4_is_unpacked_as_by_transformers():
    blocks = torch.randint(256, (2, 6, 3, 16), dtype=torch.uint8)
    scales = torch.randint(110, 140, (2, 6, 3), dtype=torch.uint8)
    theirs = convert_moe_packed_tensors(blocks.clone(), scales.clone(), dtype=torch.bfloat16)
    assert torch.equal(dequantize_mxfp4(blocks, scales).mT, theirs)


@pytest.mark.parametrize("pattern", range(16))
def test_each_pattern_of_four_bits_by_its_definition(pattern):
    sign, exponent, mantissa = pattern >> 3, pattern >> 1 & 3, pattern & 1
    value = 2.0 ** (exponent - 1) * (1 + mantissa / 2) if exponent else mantissa / 2
    blocks = torch.full((1, 16), pattern, dtype=torch.uint8)
    found = dequantize_mxfp4(blocks, torch.tensor([127 + 3], dtype=torch.uint8))[0].item()
    assert found == math.copysign(value * 8, -1 if sign else 1)


@torch.no_grad()
def test_a_packed_folder(tmp_path):
    """The same model from packed weights and from those numbers in bfloat16."""
    width = {"hidden_size": 32, "intermediate_size": 64}
    case = COMMON | width | {"num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 4}
    theirs = make_theirs("GptOss", case).bfloat16()
    plain, packed = tmp_path / "plain", tmp_path / "packed"
    for folder in (plain, packed):
        folder.mkdir()
        save_folder(theirs, folder)
    tensors = load_file(plain / "model.safetensors")
    stored = dict(tensors)
    for name in [name for name in tensors if name.endswith(("experts.gate_up_proj", "experts.down_proj"))]:
        experts, inputs, outputs = tensors[name].shape
        blocks = torch.randint(256, (experts, outputs, inputs // 32, 16), dtype=torch.uint8)
        scales = torch.randint(121, 125, (experts, outputs, inputs // 32), dtype=torch.uint8)
        tensors[name] = dequantize_mxfp4(blocks, scales).mT.contiguous()
        stored |= {f"{name}_blocks": blocks, f"{name}_scales": scales}
        del stored[name]
    save_file(tensors, plain / "model.safetensors", {"format": "pt"})
    save_file(stored, packed / "model.safetensors", {"format": "pt"})
    config = json.loads((packed / "config.json").read_text())
    quantized = {"quant_method": "mxfp4", "modules_to_not_convert": ["model.layers.*.self_attn", "lm_head"]}
    (packed / "config.json").write_text(json.dumps(config | {"quantization_config": quantized}))
    assert import_model(packed, packed / "m.openbook", overwrite=True).dtype == "bfloat16"
    import_model(plain, plain / "m.openbook", overwrite=True)
    assert (packed / "m.openbook").read_bytes() == (plain / "m.openbook").read_bytes()


# Older spellings mean the same.

LLAMA = {
    "model_type": "llama", "vocab_size": 61, "hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 96, "rms_norm_eps": 1e-5,
}  # fmt: skip
BANDS = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
TEXT = {
    "model_type": "gemma3_text", "vocab_size": 61, "hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 7,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "sliding_window": 4,
}  # fmt: skip


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        (LLAMA | {"rope_theta": 5e5}, LLAMA | {"rope_parameters": {"rope_type": "default", "rope_theta": 5e5}}),
        (
            LLAMA | {"rope_theta": 5e5, "rope_scaling": {"rope_type": "llama3", **BANDS}},
            LLAMA | {"rope_parameters": {"rope_type": "llama3", "rope_theta": 5e5, **BANDS}},
        ),
        (
            LLAMA | {"rope_scaling": {"type": "linear", "factor": 2.0}},
            LLAMA | {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}},
        ),
        (LLAMA | {"is_llama_config": True, "rope_interleaved": False, "tokenizer_class": "A", "_num_labels": 3}, LLAMA),
        (LLAMA | {"rope_scaling": None, "torch_dtype": "bfloat16", "pretraining_tp": 1}, LLAMA | {"dtype": "bfloat16"}),
        (
            TEXT
            | {"rope_theta": 1e6, "rope_local_base_freq": 1e4, "sliding_window_pattern": 6}
            | {"rope_scaling": {"rope_type": "linear", "factor": 8.0}, "cache_implementation": "hybrid"},
            TEXT
            | {
                "layer_types": 5 * ["sliding_attention"] + ["full_attention", "sliding_attention"],
                "rope_parameters": {
                    "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
                    "full_attention": {"rope_type": "linear", "rope_theta": 1e6, "factor": 8.0},
                },
            },
        ),
        (TEXT, {"model_type": "gemma3", "text_config": TEXT, "vision_config": {"a": 1}, "mm_tokens_per_image": 256}),
    ],
)
def test_older_spellings(older, newer):
    assert architecture_of(older) == architecture_of(newer)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"some_new_thing": 3}, "some_new_thing"),
        ({"hidden_act": "tanhshrink"}, "hidden_act"),
        ({"rope_interleaved": True}, "rope_interleaved"),
        ({"rope_scaling": {"type": "longrope", "factor": 2.0}}, "rope_scaling, field type"),
        ({"rope_parameters": {"rope_theta": 1e4, "partial_rotary_factor": 0.5}}, "partial_rotary_factor"),
        ({"rope_parameters": {"rope_theta": 1e4, "surprise": 1}}, "surprise"),
        ({"quantization_config": {"quant_method": "bitsandbytes"}}, "quantization_config"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers"),
        ({"num_hidden_layers": 0}, "num_hidden_layers"),
        ({"num_hidden_layers": "2"}, "num_hidden_layers"),
        ({"num_attention_heads": 5}, "hidden_size"),
        ({"num_attention_heads": 0}, "hidden_size"),
        ({"num_key_value_heads": 3}, "heads"),
        ({"vocab_size": 10**12}, "vocab_size"),
        ({"vocab_size": None}, "vocab_size"),
        ({"rms_norm_eps": -1.0}, "epsilon"),
        ({"tie_word_embeddings": "yes"}, "tie_word_embeddings"),
        ({"is_encoder_decoder": True}, "is_encoder_decoder"),
        ({"model_type": "mamba"}, "families: GPT-2, Llama"),
    ],
)
def test_a_field_that_would_change_the_result_is_refused_by_name(change, field):
    with pytest.raises(OpenbookError, match=field):
        architecture_of(LLAMA | change)


# Generation defaults.


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        (None, {}),
        ({"eos_token_id": 2}, {}),
        ({"do_sample": False, "top_k": 3}, {"temperature": 0.0}),
        (
            {"do_sample": True, "temperature": 0.6, "top_p": 0.9, "max_new_tokens": 7},
            {"temperature": 0.6, "top_k": 50, "top_p": 0.9, "min_p": 0.0, "max_tokens": 7},
        ),
        (
            {"do_sample": True, "top_k": 0.0, "repetition_penalty": 1.2},
            {"temperature": 1.0, "top_p": 1.0, "min_p": 0.0, "repetition_penalty": 1.2},
        ),
        ({"num_beams": 1, "length_penalty": 2.0}, {"beam_size": 1}),
        (
            {"num_beams": 4, "length_penalty": 2.0, "early_stopping": True, "min_new_tokens": 3},
            {"beam_size": 4, "length_penalty": 2.0, "early_stopping": "always", "min_tokens": 3},
        ),
        ({"no_repeat_ngram_size": 3}, {"no_repeat_ngram_size": 3}),
        ({"num_beams": 6, "early_stopping": "never"}, {"beam_size": 6, "early_stopping": "never"}),
        ({"num_beams": 6, "early_stopping": False}, {"beam_size": 6, "early_stopping": "heuristic"}),
    ],
)
def test_generation_defaults(file, expected, tmp_path):
    _, folder, _ = pair(("Llama", "grouped, head width"))
    for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    if file is not None:
        (tmp_path / "generation_config.json").write_text(json.dumps(file))
    import_model(tmp_path, tmp_path / "m.openbook", overwrite=True)
    assert load(tmp_path / "m.openbook")[0].generation == expected
    assert read_generation_back(expected, tmp_path) == expected


def read_generation_back(generation, folder):
    """What is left of generation defaults that go out and come in again."""
    (folder / "generation_config.json").write_text(json.dumps(write_generation_config(generation, {})))
    return read_generation_config(folder)


def test_a_generation_default_out_of_range_is_refused_by_name(tmp_path):
    _, folder, _ = pair(("Llama", "grouped, head width"))
    for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    for file, field in (
        ('{"do_sample": true, "temperature": -1}', "temperature"),
        ('{"num_beams": 4, "early_stopping": 1}', "early_stopping"),
        ('{"num_beams": 5000}', "beam_size"),
    ):
        (tmp_path / "generation_config.json").write_text(file)
        with pytest.raises(OpenbookError, match=rf"generation_config\.json, field {field}"):
            import_model(tmp_path, tmp_path / "m.openbook", overwrite=True)
