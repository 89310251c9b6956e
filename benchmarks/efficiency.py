"""Training efficiency at about 10 M parameters: matrix-product FLOPs achieved over the machine's own float32 rate.

    python benchmarks/efficiency.py

Steps of real training (forward, backward, clipping, optimizers) alternate with large float32 products in one process;
the best round of each counts, since other work on the machine can only add to it.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from openbook.training.books import Books
from openbook.training.checkpoint import Keeper
from openbook.training.initialize import initialize
from openbook.training.loop import Loop
from openbook.training.measure import count_parameters, floating_operations, multiplies_fast
from openbook.training.recipe import build_architecture, make_recipe
from openbook.transformer.decoder_only import DecoderOnly


def product_rate(size: int = 2048, rounds: int = 3) -> float:
    """Floating-point operations a second of a float32 product of two square matrices."""
    a, b = torch.randn(size, size), torch.randn(size, size)
    best = 0.0
    for _ in range(rounds):
        begun = time.perf_counter()
        a @ b
        best = max(best, 2 * size**3 / (time.perf_counter() - begun))
    return best


def main() -> None:
    """Measure and print a markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--rounds", type=int, default=6)
    wanted = parser.parse_args()
    rates = [product_rate()]
    achieved: dict[str, list[float]] = {"float32": []}
    if multiplies_fast(torch.bfloat16, torch.device("cpu")):
        achieved["bfloat16"] = []
    with tempfile.TemporaryDirectory() as folder:
        loops = {name: make_loop(wanted.layers, wanted.width, name, Path(folder)) for name in achieved}
        architecture = loops["float32"].model.architecture
        work = floating_operations(architecture, 256) * 4096
        for _ in range(wanted.rounds):
            rates.append(product_rate())
            for name, loop in loops.items():
                begun = time.perf_counter()
                loop._step()
                achieved[name].append(work / (time.perf_counter() - begun))
                loop.position.step += 1
    rate = max(rates)
    print(f"{count_parameters(architecture) / 1e6:.1f} M parameters, {torch.get_num_threads()} threads")
    print("| products | GFLOP/s in training | float32 product of 2,048 × 2,048 | ratio |\n| --- | --- | --- | --- |")
    for name, values in achieved.items():
        print(f"| {name} | {max(values) / 1e9:.0f} | {rate / 1e9:.0f} | {max(values) / rate:.2f} |")
    print(f"\npeak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB (both together)")


def make_loop(layers: int, width: int, precision: str, folder: Path) -> Loop:
    """A training run over random tokens."""
    sizes = {"layers": layers, "width": width, "heads": width // 64, "key_value_heads": width // 64}
    hidden = 32 * round(width * 8 / 3 / 32)
    recipe = make_recipe({**sizes, "feed_forward_width": hidden, "steps": 1000, "batch_tokens": 4096})
    model = DecoderOnly(build_architecture(recipe))
    initialize(model, 1)
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    tokens = np.random.default_rng(1).integers(0, recipe.vocabulary, 200_000).astype(np.uint16)
    task = Books(recipe, tokens, tokens[:5000], 10_000, np.zeros(1, np.int64), torch.device("cpu"), dtype)
    return Loop(model.train(), task, recipe, Keeper(folder / precision), dtype)


if __name__ == "__main__":
    main()
