"""Coverage-guided fuzzing of the import for a minute; slow, and only where atheris is installed."""

import base64
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from tokenizers import Tokenizer, models

SEEDS = [
    b"\x00" + json.dumps({"model_type": "llama", "hidden_size": 8, "rope_scaling": {"type": "linear"}}).encode(),
    b"\x01" + json.dumps({"weight_map": {"a": "model-1.safetensors"}}).encode(),
    b"\x02" + json.dumps({"a": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}).encode(),
    b"\x03" + json.dumps({"do_sample": True, "top_k": 5}).encode(),
]


def reader_seeds() -> list[bytes]:
    """A small example of each kind that `fuzz_readers` knows."""
    from gguf_files import random_model, write_gguf

    from interop.tokenizers.tokenizer_examples import byte_level, pieces, ranks

    with TemporaryDirectory() as folder:
        write_gguf(Path(folder, "it.gguf"), "llama", random_model("llama"), "Q8_0")
        gguf = Path(folder, "it.gguf").read_bytes()
    whole = Tokenizer(models.BPE({"a": 0, "b": 1, "ab": 2, "</s>": 3}, [("a", "b")])).to_str().encode()
    vocabulary, merges = byte_level()
    lines = "\n".join(" ".join(pair) for pair in merges).encode()
    listed = [{"rank": n, "token_bytes": base64.b64encode(t).decode(), "token_str": None} for t, n in ranks().items()]
    tekken = {
        "config": {"pattern": r"\S+|\s+", "default_vocab_size": 300, "default_num_special_tokens": 10},
        "vocab": listed,
    }
    tiktoken = b"\n".join(base64.b64encode(token) + b" %d" % rank for token, rank in ranks().items())
    seeds = [gguf, gguf, whole, pieces(vocab_size=300), json.dumps(tekken).encode(), tiktoken,
             json.dumps(vocabulary).encode() + bytes(4) + lines, whole + bytes(4) + b"{}"]  # fmt: skip
    return [bytes([number]) + seed for number, seed in enumerate(seeds)]


@pytest.mark.slow
@pytest.mark.parametrize(("script", "seeds"), [("fuzz_folders.py", lambda: SEEDS), ("fuzz_readers.py", reader_seeds)])
def test_a_minute_of_fuzzing_finds_nothing(script, seeds, tmp_path):
    if importlib.util.find_spec("atheris") is None:
        pytest.skip("needs atheris: pip install atheris")
    examples = seeds()
    for number, seed in enumerate(examples):
        (tmp_path / str(number)).write_bytes(seed)
    longest = max(4096, *map(len, examples))
    limits = ["-max_total_time=60", "-timeout=2", "-rss_limit_mb=4096", "-malloc_limit_mb=64", f"-max_len={longest}"]
    command = [sys.executable, Path(__file__).parent / script, *limits, tmp_path]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert "Done" in done.stderr
