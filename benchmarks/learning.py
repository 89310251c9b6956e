"""Learning speed on `austen-1m`: the plan that --minutes picks against hand-tuned choices, and against nanoGPT.

    python benchmarks/learning.py --books DIR                            what is picked, at every budget
    python benchmarks/learning.py --books DIR --hand                     and the best choices found by hand
    python benchmarks/learning.py --books DIR --minutes 2.28 --nanogpt DIR   and nanoGPT's CPU recipe, in turns

Every run is a process of its own, timed from its start: imports, reading, tokenizer and all. "In steps" is the share of
that time in which the model learns. The model of each run is
then asked for one token, by a process of its own too. Peak memory is that of the process.
"""

import argparse
import json
import math
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from austen import make_austen

BUDGETS = (0.25, 1.0, 2.0, 5.0, 20.0)

HAND = {
    0.25: "--layers 1 --width 128 --batch-tokens 512",
    1.0: "--layers 2 --width 192 --batch-tokens 1024 --dropout 0",
    2.0: "--layers 3 --width 192 --batch-tokens 1024 --dropout 0.1",
    5.0: "--layers 4 --width 192 --batch-tokens 4096 --dropout 0.2 --tied-embeddings --embedding-lr 0.02",
    20.0: "--layers 6 --width 256 --batch-tokens 4096 --dropout 0.2 --tied-embeddings --embedding-lr 0.02 "
    "--bpe-dropout 0.05",
}
"""The best options found by hand for each budget; docs/lab-notes.md has what else was tried."""

NANOGPT = (
    "--device=cpu --compile=False --eval_iters=20 --block_size=64 --batch_size=12 --n_layer=4 --n_head=4 "
    "--n_embd=128 --max_iters=2000 --lr_decay_iters=2000 --dropout=0.0 --log_interval=500"
)
"""The CPU recipe of nanoGPT's README."""


class Cost(NamedTuple):
    """What a process took: seconds, and gigabytes of memory at most."""

    seconds: float
    memory: float

    def __str__(self) -> str:
        return f"{self.seconds:.1f} s, {self.memory:.2f} GB"


def cost_of(command: list[str], folder: Path | None = None) -> tuple[Cost, str]:
    """Run a command to its end; what it took, and what it printed.

    Raises:
        SystemExit: it failed.
    """
    begun = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=folder) as process:
        assert process.stdout is not None
        printed = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: failed with {process.returncode}")
    return Cost(time.perf_counter() - begun, usage.ru_maxrss * 1024 / 1e9), printed


def share_of_steps(log: Path, seconds: float) -> float:
    """The share of a run's time that goes into training steps: not into preparation, validation, samples and saving."""
    events = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
    gaps = [
        after["seconds"] - before["seconds"]
        for before, after in pairwise(events)
        if before["event"] == after["event"] == "step"
    ]
    steps = sum(event["event"] == "step" for event in events)
    return steps * statistics.median(gaps) / seconds if gaps else 0.0


def run_openbook(name: str, train: Path, held_out: Path, options: list[str], folder: Path) -> str:
    """Train, ask for a token, and describe both in a line of the table."""
    model = folder / "run.openbook"
    shutil.rmtree(folder / "run.openbook.training", ignore_errors=True)
    command = ["openbook", "train", str(train), "--validation", str(held_out), "-o", str(model), "--overwrite"]
    learning, _ = cost_of([*command, *options])
    share = share_of_steps(folder / "run.openbook.training" / "log.jsonl", learning.seconds)
    asking, _ = cost_of(["openbook", "ask", str(model), "It is a truth", "--max-tokens", "1"])
    training = json.loads(cost_of(["openbook", "inspect", str(model), "--json"])[1])["training"]
    recipe = training["recipe"]
    shape = (
        f"{recipe['layers']} × {recipe['width']}, {recipe['vocab_size']:,} tokens, {recipe['batch_tokens']:,} a step"
    )
    rest = f"context {recipe['context']}, dropout {recipe['dropout']:g}, {recipe['precision']}"
    score, steps = f"{training['bits_per_byte']:.3f}", f"{training['steps']:,}"
    return f"| {name} | {learning} | {share:.0%} | {score} | {steps} | {shape}, {rest} | {asking} |"


def run_nanogpt(repository: Path, train: Path, held_out: Path) -> tuple[Cost, float]:
    """What nanoGPT's CPU recipe takes on the same text, and its bits per byte on the held-out characters."""
    import numpy as np

    data = repository / "data" / "austen_char"
    data.mkdir(parents=True, exist_ok=True)
    texts = train.read_text("utf-8"), held_out.read_text("utf-8")
    kinds = {character: number for number, character in enumerate(sorted(set("".join(texts))))}
    for name, text in zip(("train", "val"), texts, strict=True):
        np.array([kinds[character] for character in text], np.uint16).tofile(data / f"{name}.bin")
    command = [
        sys.executable,
        "train.py",
        "config/train_shakespeare_char.py",
        "--dataset=austen_char",
        *NANOGPT.split(),
    ]
    cost, output = cost_of(command, repository)
    nats = float(re.findall(r"val loss ([0-9.]+)", output)[-1])
    share = len(texts[1]) / len(texts[1].encode())
    return cost, nats / math.log(2) * share


def main() -> None:
    """Run and print a markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--books", type=Path, default=Path("../shared/data/books"), help="folder of the six novels")
    parser.add_argument("--minutes", type=float, nargs="*", default=BUDGETS, help="budgets to run")
    parser.add_argument("--hand", action="store_true", help="run the hand-tuned choices too")
    parser.add_argument("--nanogpt", type=Path, help="a checkout of nanoGPT to run beside")
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        train, held_out = make_austen(wanted.books, folder)
        print("| run | learning | in steps | bits per byte | steps | shape | asking for a token |\n|" + " --- |" * 7)
        for minutes in wanted.minutes:
            budget = ["--minutes", str(minutes)]
            print(run_openbook(f"{minutes:g} min, picked", train, held_out, budget, folder), flush=True)
            if wanted.hand and HAND.get(minutes):
                options = [*budget, *HAND[minutes].split()]
                print(run_openbook(f"{minutes:g} min, by hand", train, held_out, options, folder), flush=True)
        if wanted.nanogpt:
            cost, bits = run_nanogpt(wanted.nanogpt.resolve(), train, held_out)
            print(f"| nanoGPT, CPU recipe | {cost} | | {bits:.3f} | 2,000 | 4 × 128, characters | |")


if __name__ == "__main__":
    main()
