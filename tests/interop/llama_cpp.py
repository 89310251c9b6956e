"""llama.cpp as a second opinion on GGUF files: what it answers, from a Python of its own.

OPENBOOK_LLAMA_CPP names that Python: a virtual environment with `pip install --no-deps xllamacpp==2026.10.11549`, which
carries llama.cpp compiled.
"""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch

SCRIPT = """
import json, sys, urllib.request
import xllamacpp
from xllamacpp import CommonParams, Server, ggml_type, llama_flash_attn_type
path, context, requests = json.load(sys.stdin)
how = CommonParams()
how.model.path = path
how.n_ctx, how.n_parallel, how.warmup, how.verbosity, how.cpuparams.n_threads = context, 1, False, -1, 1
how.cache_type_k = how.cache_type_v = ggml_type.GGML_TYPE_F32
how.flash_attn_type = llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
server = Server(how)
def post(body):
    there = server.listening_address + body.pop("to")
    request = urllib.request.Request(there, json.dumps(body).encode(), {"Content-Type": "application/json"})
    return json.load(urllib.request.urlopen(request))
print("ANSWERS", json.dumps([post(request) for request in requests]), flush=True)
"""

QUANTIZE = """
import ctypes, json, sys, xllamacpp
from pathlib import Path
library = ctypes.CDLL(str(next(Path(xllamacpp.__file__).parent.glob("*.so"))))
kind, rows, length, size = json.loads(sys.argv[1])
numbers, made = sys.stdin.buffer.read(), ctypes.create_string_buffer(size)
whole = [ctypes.c_int64(number) for number in (0, rows, length)]
library.ggml_quantize_chunk(ctypes.c_int(kind), ctypes.c_char_p(numbers), made, *whole, None)
sys.stdout.buffer.write(made.raw)
"""

GREEDY = {"to": "/completion", "temperature": 0, "cache_prompt": False, "return_tokens": True}


def their_python() -> str:
    """The Python that has llama.cpp; skips the test where there is none."""
    python = os.environ.get("OPENBOOK_LLAMA_CPP")
    if python is None:
        pytest.skip("OPENBOOK_LLAMA_CPP names no Python that has llama.cpp (`pip install --no-deps xllamacpp`)")
    return python


def ggml_quantize(values: np.ndarray, kind: str) -> np.ndarray:
    """Numbers (rows, length) as ggml quantizes them to a type."""
    which = gguf.GGMLQuantizationType[kind]
    shape = gguf.quant_shape_to_byte_shape(values.shape, which)
    given = json.dumps([int(which), *values.shape, shape[0] * shape[1]])
    made = subprocess.run(
        [their_python(), "-c", QUANTIZE, given], input=values.tobytes(), capture_output=True, timeout=600, check=True
    ).stdout
    return np.frombuffer(made, np.uint8).reshape(shape)


def answers(path: Path, requests: list[dict[str, Any]], context: int = 64) -> list[dict[str, Any]]:
    """What its server answers to each request; skips the test where there is no llama.cpp."""
    done = subprocess.run(
        [their_python(), "-c", SCRIPT],
        input=json.dumps([str(path), context, requests]),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    line = next((line for line in done.stdout.splitlines() if line.startswith("ANSWERS ")), None)
    assert line is not None, done.stderr[-3000:]
    return json.loads(line.removeprefix("ANSWERS "))


def greedy(path: Path, prompts: list[list[int]], tokens: int, never: list[int], context: int = 64) -> list[list[int]]:
    """The tokens of each prompt, some of which never come."""
    banned = [[token, False] for token in never]
    asked = [{**GREEDY, "prompt": prompt, "n_predict": tokens, "logit_bias": banned} for prompt in prompts]
    return [each["tokens"] for each in answers(path, asked, context)]


def log_probabilities(path: Path, prompts: list[list[int]], vocab_size: int) -> torch.Tensor:
    """Of each prompt's next token, (B, V), before the bias: only of whole characters does it tell them."""
    whole = {"n_predict": 1, "n_probs": vocab_size, "logit_bias": [["A", 1000]]}
    asked = [{**GREEDY, "prompt": prompt, **whole} for prompt in prompts]
    found = torch.full((len(prompts), vocab_size), torch.nan)
    for row, each in enumerate(answers(path, asked)):
        for one in each["completion_probabilities"][0]["top_logprobs"]:
            found[row, one["id"]] = one["logprob"]
    return found
