"""Parts of a step learned from side by side: a small model's products are too small for cores to share.

With a part for each core an update took a sixth to a quarter less time than with all cores on one part (2 cores).
"""

import copy
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor, nn

from openbook.training.recipe import Recipe
from openbook.transformer.dropout import Dropout

LARGEST = 50_000_000
"""Parameters of the largest model that is learned from side by side."""

LEAST = 512
"""Tokens of the smallest part that is worth a thread."""


def most_workers(parameters: int, device: torch.device) -> int:
    """How many parts it pays to learn from at once: one for each core, where the model is small and runs on those."""
    return torch.get_num_threads() if device.type == "cpu" and parameters <= LARGEST else 1


def pick_workers(recipe: Recipe, parameters: int, device: torch.device) -> int:
    """How many parts of a step to learn from at once in a run."""
    part = recipe.micro_batch_size * recipe.context
    # What is worked out again must drop the same, which PyTorch sees to only for the one generator that all share.
    if part < LEAST or recipe.gradient_checkpointing:
        return 1
    return max(1, min(most_workers(parameters, device), recipe.batch_tokens // part))


Learn = Callable[[nn.Module, Any], Tensor]
"""Adds the gradients of one part to a model's; gives its loss."""


class DataParallel:
    """Threads that share a model's weights; each learns from some parts of a step into gradients of its own.

    Which parts are whose, the order in which gradients are added up, and what dropout drops follow from the step
    alone, so the same step is the same to the bit.

    Args:
        model: is learned by the first thread; the others have modules of their own around the same weights.
        count: how many; with one there are no threads.
    """

    def __init__(self, model: nn.Module, count: int) -> None:
        self.models = [model, *(sharing_weights(model).train() for _ in range(count - 1))]
        self._generators = [torch.Generator() for _ in self.models] if count > 1 else []
        for each, generator in zip(self.models, self._generators, strict=False):
            for part in each.modules():
                if isinstance(part, Dropout):
                    part.generator = generator
        self._threads = torch.get_num_threads()
        self._each = max(1, self._threads // count)
        self._pool: ThreadPoolExecutor | None = None

    def learn(self, parts: Sequence[Any], learn: Learn, seed: int) -> Tensor:
        """Learn from all parts; the model has the sum of the gradients.

        Args:
            parts: what `learn` takes.
            learn: is called with one of the models and a part.
            seed: of what dropout drops.

        Returns:
            the sum of the losses.
        """
        count = len(self.models)
        if count == 1:
            torch.manual_seed(seed)
            return _summed([learn(self.models[0], part) for part in parts])
        if self._pool is None:
            self._pool = ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(self._each,))

        def work(number: int) -> Tensor:
            self._generators[number].manual_seed((seed * count + number) % 2**63)
            return _summed([learn(self.models[number], part) for part in parts[number::count]])

        torch.set_num_threads(self._each)  # the products' library knows one number for all threads
        try:
            losses = list(self._pool.map(work, range(min(count, len(parts)))))
        finally:
            torch.set_num_threads(self._threads)
        self._gather()
        return _summed(losses)

    def _gather(self) -> None:
        """Add the gradients of the others to the first one's."""
        first, *others = (list(model.parameters()) for model in self.models)
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


def sharing_weights(model: nn.Module) -> nn.Module:
    """Another model around the very same weights, with gradients of its own."""
    weights = {id(each): nn.Parameter(each.data, each.requires_grad) for each in model.parameters()}
    return copy.deepcopy(model, dict(weights))


def _summed(losses: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(losses)).sum()
