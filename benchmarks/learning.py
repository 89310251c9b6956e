"""Learning speed on `austen-1m`: the plan that --minutes picks against hand-tuned choices, and against nanoGPT.

    python benchmarks/learning.py --books DIR                            what is picked, at every budget
    python benchmarks/learning.py --books DIR --hand                     and the best choices found by hand
    python benchmarks/learning.py --books DIR --minutes 2.28 --nanogpt DIR   and nanoGPT's CPU recipe, in turns

Every run is a process of its own, timed from its start: imports, reading, tokenizer and all.
"""

import argparse
import json
import math
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from austen import make_austen

BUDGETS = (0.25, 1.0, 2.0, 5.0, 20.0)

HAND = {
    0.25: "",
    1.0: "",
    2.0: "",
    5.0: "",
    20.0: "",
}
"""The best options found by hand for each budget; see benchmarks/README.md for what was tried."""

NANOGPT = (
    "--device=cpu --compile=False --eval_iters=20 --block_size=64 --batch_size=12 --n_layer=4 --n_head=4 "
    "--n_embd=128 --max_iters=2000 --lr_decay_iters=2000 --dropout=0.0 --log_interval=500"
)
"""The CPU recipe of nanoGPT's README."""


def run_openbook(train: Path, held_out: Path, options: list[str], folder: Path) -> tuple[float, dict[str, object]]:
    """Seconds of a training process, and what the model file says of it."""
    model = folder / "run.openbook"
    shutil.rmtree(folder / "run.training", ignore_errors=True)
    command = ["openbook", "train", str(train), "--validation", str(held_out), "-o", str(model), "--overwrite"]
    begun = time.perf_counter()
    subprocess.run([*command, *options], check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - begun
    described = subprocess.run(["openbook", "inspect", str(model), "--json"], check=True, capture_output=True)
    return seconds, json.loads(described.stdout)


def row_of(name: str, seconds: float, described: dict[str, object]) -> str:
    """One line of the table."""
    training = described["training"]
    assert isinstance(training, dict)
    recipe = training["recipe"]
    shape = f"{recipe['layers']} × {recipe['width']}, {recipe['vocabulary']:,} kinds, {recipe['batch_tokens']:,} a step"
    rest = f"context {recipe['context']}, dropout {recipe['dropout']:g}, {recipe['precision']}"
    return f"| {name} | {seconds:.1f} s | {training['bits_a_byte']:.3f} | {training['steps']:,} | {shape}, {rest} |"


def run_nanogpt(repository: Path, train: Path, held_out: Path) -> tuple[float, float]:
    """Seconds of nanoGPT's CPU recipe on the same text, and its bits a byte on all of the held-out characters."""
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
    begun = time.perf_counter()
    output = subprocess.run(command, cwd=repository, check=True, capture_output=True, text=True).stdout
    seconds = time.perf_counter() - begun
    nats = float(re.findall(r"val loss ([0-9.]+)", output)[-1])
    share = len(texts[1]) / len(texts[1].encode())
    return seconds, nats / math.log(2) * share


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
        print("| run | from process start | bits a byte | steps | shape |\n| --- | --- | --- | --- | --- |")
        for minutes in wanted.minutes:
            budget = ["--minutes", str(minutes)]
            print(row_of(f"{minutes:g} min, picked", *run_openbook(train, held_out, budget, folder)), flush=True)
            if wanted.hand and HAND.get(minutes):
                options = [*budget, *HAND[minutes].split()]
                print(row_of(f"{minutes:g} min, by hand", *run_openbook(train, held_out, options, folder)), flush=True)
        if wanted.nanogpt:
            seconds, bits = run_nanogpt(wanted.nanogpt.resolve(), train, held_out)
            print(f"| nanoGPT, CPU recipe | {seconds:.1f} s | {bits:.3f} | 2,000 | 4 × 128, characters |")


if __name__ == "__main__":
    main()
