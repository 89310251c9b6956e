"""Coverage-guided fuzzing of the import for a minute; slow, and only where atheris is installed."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

SEEDS = [
    b"\x00" + json.dumps({"model_type": "llama", "hidden_size": 8, "rope_scaling": {"type": "linear"}}).encode(),
    b"\x01" + json.dumps({"weight_map": {"a": "model-1.safetensors"}}).encode(),
    b"\x02" + json.dumps({"a": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}).encode(),
    b"\x03" + json.dumps({"do_sample": True, "top_k": 5}).encode(),
]


@pytest.mark.slow
def test_a_minute_of_fuzzing_finds_nothing(tmp_path):
    if importlib.util.find_spec("atheris") is None:
        pytest.skip("needs atheris: pip install atheris")
    for number, seed in enumerate(SEEDS):
        (tmp_path / str(number)).write_bytes(seed)
    script = Path(__file__).parent / "fuzz_folders.py"
    limits = ["-max_total_time=60", "-timeout=2", "-rss_limit_mb=4096", "-max_len=4096"]
    command = [sys.executable, script, *limits, tmp_path]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert "Done" in done.stderr
