"""What many processes cost: a step's time on this machine, and what it would be on 8, 64 and 512 like it.

    python benchmarks/scale.py                            # this processor
    python benchmarks/scale.py --flops 4e14 --gigabits 400    # a GPU that reaches 400 TFLOP/s, say

A step's compute and optimizer are timed here, or follow from `--flops`. Communication is computed from the bytes that
travel, the stated bandwidth of each process and the latency of a message:

- data parallel: all gradients are summed, 2(N − 1)/N of their bytes per process, after the backward pass;
- sharded: weights are gathered in the forward and again in the backward pass, and gradients are summed to their parts,
  3(N − 1)/N in all, and Muon's matrices travel to the process that orthogonalizes them and back, 2(N − 1)/N of theirs.

Nothing is assumed to overlap with computing, so the efficiencies are the least to expect. Each process keeps its
tokens per step as their number grows.
"""

import argparse
import math
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
from openbook.training.optimizer import parameter_group
from openbook.training.plan.measure import muon_flops, token_flops
from openbook.training.plan.rules import shape_choices
from openbook.training.recipe import Recipe, build_architecture, make_recipe
from openbook.transformer.transformer import Transformer

SIZES = ((6, 384), (12, 768), (16, 2048))
"""Layers and width: about 10 M, 100 M and 1 B parameters."""
RANKS = (2, 8, 64, 512)
NUMBER_BYTES = 4


def recipe_of(layers: int, width: int, tokens: int) -> Recipe:
    """A step of so many tokens."""
    sizes = shape_choices(layers, width, {})
    wide = {"vocab_size": 32_000, "context": 1024} if width > 384 else {}
    return make_recipe({**sizes, **wide, "steps": 1000, "batch_tokens": tokens, "micro_batch_size": 2})


def measured_step(recipe: Recipe) -> float:
    """Seconds of a step on this machine, the best of three."""
    model = Transformer(build_architecture(recipe))
    initialize(model, 1)
    tokens = np.random.default_rng(1).integers(0, recipe.vocab_size, 200_000).astype(np.uint16)
    spelled = TokenBytes(np.full(recipe.vocab_size, 4), None, NOTHING_UNKNOWN)
    start, device = np.zeros(1, np.int64), torch.device("cpu")
    task = LanguageModelingTask(recipe, tokens, tokens[:5000], 10_000, start, device, torch.float32, spelled, spelled)
    with tempfile.TemporaryDirectory() as folder:
        loop = TrainingLoop(model.train(), task, recipe, Checkpointer(Path(folder)))
        times = []
        for _ in range(3):
            begun = time.perf_counter()
            loop._step()
            loop.state.step += 1
            times.append(time.perf_counter() - begun)
    return min(times)


def bytes_of(recipe: Recipe) -> tuple[int, int]:
    """Of all gradients, and of the matrices that Muon orthogonalizes."""
    with torch.device("meta"):
        model = Transformer(build_architecture(recipe))
    named = list(model.named_parameters())
    matrices = sum(each.numel() for name, each in named if parameter_group(name, each) == "matrix")
    return NUMBER_BYTES * sum(each.numel() for _, each in named), NUMBER_BYTES * matrices


def main() -> None:
    """Print a markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=8192, help="per step and process")
    parser.add_argument("--gigabits", type=float, nargs="+", default=[10, 100], help="a second, of each process")
    parser.add_argument("--latency", type=float, default=30e-6, help="seconds of a message")
    parser.add_argument("--flops", type=float, help="of a process, reached in training; else it is measured here")
    parser.add_argument("--sizes", type=int, default=2, help="how many of the three sizes of model")
    wanted = parser.parse_args()
    print(f"{wanted.tokens:,} tokens per process and step, {'stated' if wanted.flops else 'measured'} compute\n")
    print("| parameters | step alone | Gbit/s | " + " | ".join(f"{ranks} processes" for ranks in RANKS) + " |")
    print("|" + " --- |" * (3 + len(RANKS)))
    for layers, width in SIZES[: wanted.sizes]:
        recipe = recipe_of(layers, width, wanted.tokens)
        architecture = build_architecture(recipe)
        gradients, matrices = bytes_of(recipe)
        if wanted.flops:
            work = token_flops(architecture, recipe.context) * wanted.tokens + muon_flops(architecture)
            step = work / wanted.flops
        else:
            step = measured_step(recipe)
        for gigabits in wanted.gigabits:
            cells = []
            for ranks in RANKS:
                share, messages = (ranks - 1) / ranks, 2 * math.log2(ranks) * wanted.latency
                second = gigabits * 1e9 / 8
                data_parallel = 2 * share * gradients / second + messages
                sharded = share * (3 * gradients + 2 * matrices) / second + 3 * layers * messages
                cells.append(f"{step / (step + data_parallel):.0%}, {step / (step + sharded):.0%}")
            row = f"| {gradients / NUMBER_BYTES / 1e6:,.0f} M | {step:.3g} s | {gigabits:g} | "
            print(row + " | ".join(cells) + " |")
    print("\nEach cell: efficiency of data parallel, and sharded.")


if __name__ == "__main__":
    main()
