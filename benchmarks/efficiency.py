"""Training efficiency at about 10 M parameters: matrix-product FLOPs achieved over the machine's own float32 rate.

    python benchmarks/efficiency.py

Steps of real training (forward, backward, clipping, optimizers) alternate with float32 products of 2,048 × 2,048 that
go on for as long as a step; the best round of each counts, since other work on the machine can only add to it.
Two counts of the FLOPs are given: those that the model needs, and with them the products of Muon's Newton-Schulz steps.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from openbook.text.tokenizer.unknown import NOTHING_UNKNOWN
from openbook.training.checkpoint import Checkpointer
from openbook.training.data.language_modeling_task import LanguageModelingTask
from openbook.training.evaluation.perplexity import TokenBytes
from openbook.training.initialize import initialize
from openbook.training.loop import TrainingLoop
from openbook.training.optimizer import NEWTON_SCHULZ_STEPS
from openbook.training.plan.measure import count_parameters, matmul_is_fast, token_flops
from openbook.training.plan.rules import shape_choices
from openbook.training.recipe import build_architecture, make_recipe
from openbook.transformer.transformer import Transformer


def product_rate(seconds: float, size: int = 2048) -> float:
    """Floating-point operations a second of a float32 product of two square matrices, kept up for so many seconds."""
    a, b = torch.randn(size, size), torch.randn(size, size)
    begun, count = time.perf_counter(), 0
    while count == 0 or time.perf_counter() - begun < seconds:
        a @ b
        count += 1
    return count * 2 * size**3 / (time.perf_counter() - begun)


def orthogonalizing_operations(model: Transformer) -> int:
    """Floating-point operations of the Newton-Schulz products of one update (see `optimizer.orthogonalize`)."""
    shapes = [sorted(p.shape) for name, p in model.named_parameters() if ".blocks." in name and p.ndim == 2]
    return NEWTON_SCHULZ_STEPS * sum(2 * small * small * (2 * large + small) for small, large in shapes)


def main() -> None:
    """Measure and print a markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--batch-tokens", type=int, default=8192, help="tokens per step; the plan's for this size")
    wanted = parser.parse_args()
    rates: list[float] = []
    achieved: dict[str, list[float]] = {"float32": []}
    if matmul_is_fast(torch.bfloat16, torch.device("cpu")):
        achieved["bfloat16"] = []
    with tempfile.TemporaryDirectory() as folder:
        loops = {name: make_loop(wanted, name, Path(folder)) for name in achieved}
        model = loops["float32"].model
        assert isinstance(model, Transformer)
        architecture = model.architecture
        work = token_flops(architecture, 256) * wanted.batch_tokens
        for _ in range(wanted.rounds):
            for name, loop in loops.items():
                begun = time.perf_counter()
                loop._step()
                seconds = time.perf_counter() - begun
                achieved[name].append(work / seconds)
                loop.state.step += 1
                rates.append(product_rate(seconds))
    rate, more = max(rates), 1 + orthogonalizing_operations(model) / work
    print(f"{count_parameters(architecture) / 1e6:.1f} M parameters, {torch.get_num_threads()} threads")
    print("| products | GFLOP/s of the model | float32 product of 2,048² | ratio | with the optimizer's products |")
    print("| --- | --- | --- | --- | --- |")
    for name, values in achieved.items():
        ratio = max(values) / rate
        print(f"| {name} | {max(values) / 1e9:.0f} | {rate / 1e9:.0f} | {ratio:.2f} | {more * ratio:.2f} |")
    print(f"\npeak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB (both together)")


def make_loop(wanted: argparse.Namespace, precision: str, folder: Path) -> TrainingLoop:
    """A training run over random tokens."""
    sizes = shape_choices(wanted.layers, wanted.width, {})
    recipe = make_recipe({**sizes, "steps": 1000, "batch_tokens": wanted.batch_tokens, "micro_batch_size": 8})
    model = Transformer(build_architecture(recipe))
    initialize(model, 1)
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    tokens = np.random.default_rng(1).integers(0, recipe.vocab_size, 200_000).astype(np.uint16)
    spelled = TokenBytes(np.full(recipe.vocab_size, 4), None, NOTHING_UNKNOWN)
    start, device = np.zeros(1, np.int64), torch.device("cpu")
    task = LanguageModelingTask(recipe, tokens, tokens[:5000], 10_000, start, device, dtype, spelled, spelled)
    return TrainingLoop(model.train(), task, recipe, Checkpointer(folder / precision), dtype)


if __name__ == "__main__":
    main()
