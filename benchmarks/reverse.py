"""A toy proof: an encoder-decoder learns to reverse strings of 1 to 25 letters in three minutes.

    python benchmarks/reverse.py
    python benchmarks/reverse.py --minutes 1 --json

Training and unseen strings come from a seed, so every run has the same. The score is the share of unseen strings that
come out exactly reversed, taking the likeliest letter at each step; lengths that were never trained are reported too.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LETTERS = "abcdefghijklmnopqrstuvwxyz"
LONGEST, BEYOND = 25, 30
PAIRS, TESTS = 100_000, 40
"""Strings to learn from, and unseen ones of each length."""

OPTIONS = [
    "--tokenizer",
    "characters",
    "--encoder-layers",
    "2",
    "--layers",
    "2",
    "--width",
    "128",
    "--batch-tokens",
    "2048",
    "--dropout",
    "0",
    "--label-smoothing",
    "0",
]
"""A small model, and no noise: there is exactly one right answer."""


def make_strings(seed: int) -> tuple[list[str], dict[int, list[str]]]:
    """Strings to learn from, of lengths 1 to 25 alike often, and unseen ones by length (of one letter, only three)."""
    choose = random.Random(seed)

    def string(length: int) -> str:
        return "".join(choose.choices(LETTERS, k=length))

    tests = {length: {string(length) for _ in range(TESTS if length > 1 else 3)} for length in range(1, BEYOND + 1)}
    unseen = set().union(*tests.values())
    train = {string(1 + number % LONGEST) for number in range(PAIRS)} - unseen
    return sorted(train), {length: sorted(some) for length, some in tests.items()}


def train_reverser(strings: list[str], folder: Path, options: list[str]) -> tuple[Path, float]:
    """Train with the command itself; gives the model file and the seconds from the start of its process."""
    pairs, model = folder / "reverse.tsv", folder / "reverse.openbook"
    pairs.write_text("".join(f"{string}\t{string[::-1]}\n" for string in strings))
    command = ["train", "--pairs", str(pairs), "-o", str(model), "--overwrite", *options]
    begun = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "openbook.cli.main", *command], check=False)
    if done.returncode:
        raise SystemExit(f"openbook {' '.join(command)}: failed with {done.returncode}")
    return model, time.perf_counter() - begun


def score_reverser(path: Path, tests: dict[int, list[str]]) -> dict[int, float]:
    """The share of each length's strings that come out exactly reversed."""
    import openbook
    from openbook.training.evaluation.translation import TranslationSet

    model = openbook.load(path)
    sources = [model.tokenizer.encode_source(string) for strings in tests.values() for string in strings]
    written = TranslationSet([], [], model.tokenizer).translate(model.transformer, sources)
    answers = iter(written)
    return {
        length: sum(next(answers) == string[::-1] for string in strings) / len(strings)
        for length, strings in tests.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", default="2.95", help="for all but the end of the process")
    parser.add_argument("--options", default="", help="more options of `openbook train`")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    strings, tests = make_strings(asked.seed)
    budget = [] if "--steps" in asked.options else ["--minutes", asked.minutes]
    with tempfile.TemporaryDirectory() as folder:
        model, seconds = train_reverser(strings, Path(folder), [*OPTIONS, *budget, *asked.options.split()])
        exact = score_reverser(model, tests)
    trained = [(share, len(tests[length])) for length, share in exact.items() if length <= LONGEST]
    longer = [(share, len(tests[length])) for length, share in exact.items() if length > LONGEST]
    inside, beyond = (sum(s * n for s, n in some) / sum(n for _, n in some) for some in (trained, longer))
    if asked.json:
        print(json.dumps({"exact": inside, "exact_26_to_30": beyond, "seconds": seconds, "by_length": exact}))
    else:
        print(f"lengths 1 to {LONGEST}: {inside:.2%} exact; {LONGEST + 1} to {BEYOND}, never trained: {beyond:.2%}")
        print(f"trained in {seconds:.1f} s from process start")


if __name__ == "__main__":
    main()
