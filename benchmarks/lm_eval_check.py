"""lm-eval through `openbook serve`, against the same numbers computed directly: accuracy and each log-likelihood.

    python -m venv lm-eval && lm-eval/bin/pip install 'lm-eval[api]'
    python benchmarks/lm_eval_check.py MODEL --python lm-eval/bin/python

The task is made here: capitals of countries, four choices each, so nothing is downloaded. lm-eval knows the model by
its address alone: it has the server tokenize, and asks /v1/completions for the log-probabilities of prompts.
"""

import argparse
import json
import random
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

import openbook
from openbook.model import Model

CAPITALS = {
    "France": "Paris",
    "Germany": "Berlin",
    "Italy": "Rome",
    "Spain": "Madrid",
    "Portugal": "Lisbon",
    "Poland": "Warsaw",
    "Austria": "Vienna",
    "Greece": "Athens",
    "Sweden": "Stockholm",
    "Norway": "Oslo",
    "Finland": "Helsinki",
    "Denmark": "Copenhagen",
    "Ireland": "Dublin",
    "Hungary": "Budapest",
    "Romania": "Bucharest",
    "Bulgaria": "Sofia",
    "Russia": "Moscow",
    "Turkey": "Ankara",
    "Egypt": "Cairo",
    "Kenya": "Nairobi",
    "Japan": "Tokyo",
    "China": "Beijing",
    "India": "New Delhi",
    "Thailand": "Bangkok",
    "Cuba": "Havana",
    "Peru": "Lima",
    "Chile": "Santiago",
    "Canada": "Ottawa",
    "Iran": "Tehran",
    "Iraq": "Baghdad",
}
TASK = """\
task: capitals
dataset_path: json
dataset_kwargs:
  data_files:
    test: {data}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{answer}}}}"
doc_to_choice: "{{{{choices}}}}"
metric_list:
  - metric: acc
"""
TOLERANCE = 1e-5
"""Of a log-likelihood, relative to its size where it is above 1: a sum of float32 has no more digits."""


def main() -> None:
    """Run lm-eval, compare, and say what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="a model file")
    parser.add_argument("--python", default=sys.executable, help="of the environment that has lm-eval")
    parser.add_argument("--engine", default="torch", help="of the server; the direct numbers are PyTorch's")
    parser.add_argument("--questions", type=int, default=len(CAPITALS), help="how many to ask")
    parser.add_argument("--batch-size", type=int, default=4, help="prompts of a request")
    parser.add_argument("--concurrent", type=int, default=2, help="requests at once")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        write_task(Path(folder), options.questions)
        found = served(options, Path(folder))
    compare(openbook.load(options.model, "cpu", "torch"), found)


def write_task(folder: Path, count: int) -> None:
    """The questions, and the task that asks them."""
    chance = random.Random(1)
    lines = []
    for country, capital in list(CAPITALS.items())[:count]:
        others = chance.sample([each for each in CAPITALS.values() if each != capital], 3)
        choices = [f" {each}." for each in chance.sample([capital, *others], 4)]
        question = {"question": f"The capital of {country} is", "choices": choices}
        lines.append(json.dumps(question | {"answer": choices.index(f" {capital}.")}))
    (folder / "capitals.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "capitals.yaml").write_text(TASK.format(data=folder / "capitals.jsonl"), encoding="utf-8")


def served(options: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """What lm-eval logs of each question, asked through a server."""
    command = [sys.executable, "-m", "openbook", "serve", str(options.model), "--port", "0", "--engine", options.engine]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        address = re.search(r"http://\S+", server.stdout.readline())
        if address is None:
            raise SystemExit("the server does not start")
        arguments = {
            "model": options.model.stem,
            "base_url": f"{address[0]}/v1/completions",
            "tokenizer_backend": "remote",
            "num_concurrent": options.concurrent,
            "max_retries": 20,
        }
        given = ",".join(f"{name}={value}" for name, value in arguments.items())
        lm_eval = [options.python, "-m", "lm_eval", "--model=local-completions", f"--model_args={given}", "-s"]
        asked = ["--tasks=capitals", f"--include_path={folder}", f"--batch_size={options.batch_size}"]
        subprocess.run([*lm_eval, *asked, f"--output_path={folder / 'results'}"], check=True)
    finally:
        server.terminate()
        server.wait()
    (samples,) = folder.glob("results/**/samples_capitals_*.jsonl")
    return [json.loads(line) for line in samples.read_text(encoding="utf-8").splitlines()]


def compare(model: Model, samples: list[dict[str, Any]]) -> None:
    """Compare with the model itself; ends the program with an error if they differ."""
    largest, relative, right, served_right = 0.0, 0.0, 0, 0.0
    for sample in samples:
        direct = [log_likelihood(model, *pair.values()) for pair in sample["arguments"].values()]
        through = [(float(number), str(greedy) == "True") for number, greedy in sample["filtered_resps"]]
        for (mine, my_greedy), (theirs, their_greedy) in zip(direct, through, strict=True):
            largest = max(largest, abs(mine - theirs))
            relative = max(relative, abs(mine - theirs) / max(1.0, abs(mine)))
            if my_greedy != their_greedy:
                raise SystemExit(f"greedy differs: {sample['arguments']}")
        best = max(range(len(direct)), key=lambda index: direct[index][0])
        right += best == int(sample["target"])
        served_right += sample["acc"]
    shares = f"{right / len(samples):.4f} direct, {served_right / len(samples):.4f} served"
    print(f"{len(samples)} questions; accuracy {shares}")
    print(f"largest difference of a log-likelihood: {largest:.2e}, relative to its size {relative:.2e}")
    if relative > TOLERANCE or right != served_right:
        raise SystemExit(f"they differ by more than {TOLERANCE:g}")


@torch.no_grad()
def log_likelihood(model: Model, context: str, continuation: str) -> tuple[float, bool]:
    """Σ log p of the continuation's tokens, and whether each is the most probable, as lm-eval counts them."""
    whole = model.tokenizer.encode(context + continuation, allow_special=True)
    length = len(model.tokenizer.encode(context, allow_special=True))
    logits = model.transformer(torch.tensor([whole[:-1]]))[0, length - 1 :]
    tokens = torch.tensor(whole[length:])
    found = logits.double().log_softmax(-1)
    scores = found[torch.arange(len(tokens)), tokens]
    return float(scores.sum()), bool((scores == found.max(-1).values).all())


if __name__ == "__main__":
    main()
