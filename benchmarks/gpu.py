"""Checks and measures training on CUDA, in about ten minutes, for whoever has a GPU.

    python benchmarks/gpu.py

Nothing of this could be run where openbook is developed. Each line says what should be, and what is:

- a step's loss on the GPU is that on the processor, in float32;
- a killed run ends with the same losses; bfloat16 learns what float32 learns;
- with several GPUs, data parallel and sharded runs have the losses of one GPU;
- tokens a second and the share of the stated peak, in float32 and bfloat16, by size of model.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from openbook.training.plan.measure import step_seconds, token_flops
from openbook.training.plan.rules import shape_choices
from openbook.training.recipe import build_architecture, make_recipe

SIZES = ((6, 384), (12, 768), (24, 1024))
"""Layers and width."""
OPTIONS = [
    "--steps",
    "60",
    "--layers",
    "4",
    "--width",
    "128",
    "--heads",
    "2",
    "--head-width",
    "64",
    "--feed-forward-width",
    "256",
    "--context",
    "128",
    "--batch-tokens",
    "4096",
    "--micro-batch-size",
    "4",
    "--vocab-size",
    "500",
    "--dropout",
    "0.1",
    "--validations",
    "3",
    "--patience",
    "99",
]


def write_book(path: Path) -> None:
    """Sentences of made words, the same every time."""
    choose = random.Random(1)
    words = ["".join(choose.choices("aeioulnrst", k=choose.randint(2, 7))) for _ in range(400)]
    sentences = (" ".join(choose.choices(words, k=choose.randint(5, 12))).capitalize() for _ in range(8000))
    path.write_text(".\n\n".join(sentences), "utf-8")


def losses_of(folder: Path, name: str, *options: str, kill_after: float | None = None) -> list[float]:
    """The loss of each step of a run of the command; with `kill_after` it is killed once and resumed."""
    command = [sys.executable, "-m", "openbook", "train", str(folder / "book.txt"), "-o", str(folder / name)]
    command += [*OPTIONS, *options]
    if kill_after is not None:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        time.sleep(kill_after)
        process.kill()
        process.wait()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    lines = (folder / f"{name}.training" / "log.jsonl").read_text("utf-8").splitlines()
    return [event["loss"] for event in map(json.loads, lines) if event["event"] == "step"]


def compare(what: str, expected: list[float], found: list[float], most: float) -> None:
    """Print how far the losses are apart, and whether that is close enough."""
    apart = max(abs(one / other - 1) for one, other in zip(expected, found, strict=True))
    verdict = "as it should be" if apart <= most else f"MORE THAN {most:g}"
    print(f"{what}: losses apart by {apart:.1e} at most, {verdict}", flush=True)


def speeds(peak: float) -> None:
    """Print tokens a second for every size."""
    device = torch.device("cuda")
    print("\n| layers × width | precision | tokens/s | TFLOP/s | of the stated peak |\n| --- | --- | --- | --- | --- |")
    for layers, width in SIZES:
        recipe = make_recipe({**shape_choices(layers, width, {}), "vocab_size": 32_000, "context": 1024})
        architecture = build_architecture(recipe)
        for dtype in (torch.float32, torch.bfloat16):
            rows, length = 8, 1024
            seconds = step_seconds(architecture, length, rows, device, dtype, patience=5.0)
            rate = rows * length / seconds
            flops = rate * token_flops(architecture, length)
            name = str(dtype).removeprefix("torch.")
            print(
                f"| {layers} × {width} | {name} | {rate:,.0f} | {flops / 1e12:.1f} | {flops / peak:.0%} |", flush=True
            )


def main() -> None:
    """Run all checks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peak", type=float, default=989e12, help="FLOP/s of the GPU in bfloat16, as its maker says")
    wanted = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("there is no CUDA device here, or this PyTorch was built without CUDA")
    count = torch.cuda.device_count()
    print(f"{count} × {torch.cuda.get_device_name()}, PyTorch {torch.__version__}", flush=True)
    exact = ["--device", "cuda", "--precision", "float32"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_book(folder / "book.txt")
        one = losses_of(folder, "one", *exact)
        on_processor = losses_of(folder, "cpu", "--device", "cpu", "--precision", "float32", "--dropout", "0")
        plain = losses_of(folder, "plain", *exact, "--dropout", "0")
        compare("first 10 steps, GPU and processor", on_processor[:10], plain[:10], 1e-3)
        compare("killed and resumed", one, losses_of(folder, "killed", *exact, kill_after=15.0), 1e-5)
        rounded = losses_of(folder, "bfloat16", "--device", "cuda", "--precision", "bfloat16")
        compare("last 10 steps, bfloat16 and float32", one[-10:], rounded[-10:], 3e-2)
        if count > 1:
            many = ["--processes", str(count)]
            compare(f"{count} GPUs", one, losses_of(folder, "many", *exact, *many), 1e-5)
            compare(f"{count} GPUs, sharded", one, losses_of(folder, "split", *exact, *many, "--shard"), 1e-5)
    speeds(wanted.peak)


if __name__ == "__main__":
    main()
