"""Data parallelism on a processor: threads that each compute the gradients of some micro-batches of a step.

The matrix products of a small model are too small to share among cores: with a micro-batch for each core, a step took
a sixth to a quarter less time than with all cores on one micro-batch (2 cores).
"""

import copy
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from openbook.training.group import current_group
from openbook.training.recipe import Recipe
from openbook.transformer.dropout import Dropout

MAX_PARAMETERS = 50_000_000
"""Parameters of the largest model that is trained this way."""

MIN_TOKENS = 512
"""Tokens of the smallest micro-batch that is worth a thread."""


def max_replicas(parameters: int, device: torch.device) -> int:
    """How many replicas pay: one for each core if the model is small and runs on the processor, else one."""
    return torch.get_num_threads() if device.type == "cpu" and parameters <= MAX_PARAMETERS else 1


def choose_replicas(recipe: Recipe, parameters: int, device: torch.device) -> int:
    """How many replicas a run of this recipe has."""
    tokens = recipe.micro_batch_size * recipe.context
    # Recomputed blocks must drop the same numbers, which PyTorch ensures only for the generator that all threads share.
    if tokens < MIN_TOKENS or recipe.gradient_checkpointing or current_group().sharded:
        return 1
    here = recipe.batch_tokens // tokens // current_group().size
    return max(1, min(max_replicas(parameters, device), here))


ForwardBackward = Callable[[nn.Module, Any], Tensor]
"""Adds the gradients of a micro-batch to a model's; returns the loss."""


def dropout_seed(seed: int, step: int, micro_batch: int) -> int:
    """What seeds dropout in a micro-batch of a step, whichever thread or process computes it."""
    return int(np.random.SeedSequence((seed, step, micro_batch)).generate_state(1, np.uint64)[0] >> np.uint64(1))


class DataParallel:
    """Replicas of a model that share its weights and have gradients of their own, each in a thread.

    Which replica takes which micro-batch and the order in which gradients are summed depend on the number of replicas
    alone, so a repeated step gives the same bits. What dropout drops depends on the micro-batch's own seed, whoever
    computes it.

    Args:
        model: is the first replica.
        replicas: how many; with one there are no threads.
    """

    def __init__(self, model: nn.Module, replicas: int) -> None:
        self.replicas = [model, *(replicate(model).train() for _ in range(replicas - 1))]
        self._generators = [torch.Generator() for _ in self.replicas] if replicas > 1 else []
        for replica, generator in zip(self.replicas, self._generators, strict=False):
            for module in replica.modules():
                if isinstance(module, Dropout):
                    module.generator = generator
        self._threads = torch.get_num_threads()
        self._threads_per_replica = max(1, self._threads // replicas)
        self._pool: ThreadPoolExecutor | None = None

    def forward_backward(
        self, micro_batches: Sequence[Any], forward_backward: ForwardBackward, seeds: Sequence[int]
    ) -> Tensor:
        """Run `forward_backward` on all micro-batches and leave the sum of their gradients in the model.

        Args:
            micro_batches: are passed to `forward_backward`.
            forward_backward: is called with a replica and a micro-batch.
            seeds: of dropout, one for each micro-batch.

        Returns:
            the sum of the losses.
        """
        count, work = len(self.replicas), list(zip(micro_batches, seeds, strict=True))
        if count == 1:
            return _sum([self._run(0, forward_backward, *each) for each in work])
        if self._pool is None:
            self._pool = ThreadPoolExecutor(
                count, initializer=torch.set_num_threads, initargs=(self._threads_per_replica,)
            )

        def run(number: int) -> Tensor:
            return _sum([self._run(number, forward_backward, *each) for each in work[number::count]])

        torch.set_num_threads(self._threads_per_replica)  # the BLAS library has one setting for all threads
        try:
            losses = list(self._pool.map(run, range(min(count, len(work)))))
        finally:
            torch.set_num_threads(self._threads)
        self._reduce()
        return _sum(losses)

    def _run(self, number: int, forward_backward: ForwardBackward, batch: Any, seed: int) -> Tensor:
        if self._generators:
            self._generators[number].manual_seed(seed)
        else:
            torch.manual_seed(seed)
        return forward_backward(self.replicas[number], batch)

    def _reduce(self) -> None:
        """Add the gradients of the other replicas to the model's."""
        first, *others = (list(replica.parameters()) for replica in self.replicas)
        for other in others:
            for weight, same in zip(first, other, strict=True):
                if weight.grad is None:
                    weight.grad = same.grad
                elif same.grad is not None:
                    weight.grad += same.grad
                same.grad = None

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None


def replicate(model: nn.Module) -> nn.Module:
    """A copy of the model that shares its weights and has gradients of its own."""
    weights = {id(each): nn.Parameter(each.data, each.requires_grad) for each in model.parameters()}
    return copy.deepcopy(model, dict(weights))


def _sum(losses: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(losses)).sum() if losses else torch.zeros(())
