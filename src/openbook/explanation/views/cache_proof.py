"""The proof that the cache changes nothing: a step with it, and the same token read again with the whole text."""

import time
from dataclasses import dataclass

import torch
from torch import Tensor

from openbook.errors import OpenbookError
from openbook.explanation.traced_generation import TracedRun
from openbook.trace import Trace, trace


@dataclass(frozen=True)
class CacheProof:
    """A step with and without the cache.

    Attributes:
        step: its number.
        differences: for each quantity of the new token its greatest difference, in computed order.
        logits: the greatest difference of the logits.
        tokens_with, tokens_without: how many tokens each way reads.
        numbers_with, numbers_without: how many numbers each way computes.
        seconds_with, seconds_without: how long one pass of each took here, every number recorded.
    """

    step: int
    differences: dict[str, float]
    logits: float
    tokens_with: int
    tokens_without: int
    numbers_with: int
    numbers_without: int
    seconds_with: float
    seconds_without: float


@torch.no_grad()
def cache_proof(run: TracedRun, step: int) -> CacheProof:
    """Compute a step again from all tokens so far, and compare each number of its newest token.

    Raises:
        OpenbookError: it is step 0, which reads the prompt and has nothing in its cache yet.
    """
    if step == 0:
        raise OpenbookError("step 0 reads the whole prompt, so its cache is still empty; look at a later step")
    model, end = run.model, run.steps[step].end
    device = next(model.parameters()).device
    tokens = torch.tensor([run.tokens[:end]], device=device)
    source = None if run.source is None else torch.tensor([run.source], device=device)
    was_training = model.training
    model.eval()
    try:
        started = time.perf_counter()
        with trace(model) as uncached:
            model(tokens, source=source)
        without = time.perf_counter() - started
        cache = run.cache_before(step)
        started = time.perf_counter()
        with trace(model):
            model(tokens[:, -1:], cache=cache)
        within = time.perf_counter() - started
    finally:
        model.train(was_training)
    cached = run.trace(step)
    differences = {
        path: difference
        for path in cached
        if path in uncached and (difference := _difference(cached, uncached, path)) is not None
    }
    return CacheProof(
        step=step,
        differences=differences,
        logits=differences["to_logits.logits"],
        tokens_with=1,
        tokens_without=end,
        numbers_with=_numbers(cached),
        numbers_without=_numbers(uncached),
        seconds_with=within,
        seconds_without=without,
    )


def _difference(cached: Trace, uncached: Trace, path: str) -> float | None:
    """The greatest difference of the newest token's numbers; None where the two have no shape in common."""
    one, other = cached[path].value, uncached[path].value
    if one.shape != other.shape:
        axis = next(axis for axis in range(one.dim()) if one.shape[axis] != other.shape[axis])
        if one.shape[axis] != 1:
            return None
        other = other.narrow(axis, other.shape[axis] - 1, 1)
    if one.shape != other.shape:
        return None
    return _greatest(one, other)


def _greatest(one: Tensor, other: Tensor) -> float:
    one, other = one.double(), other.double()
    return torch.where(one == other, 0.0, (one - other).abs()).max().item()


def _numbers(recorded: Trace) -> int:
    """How many numbers a pass computed; what lies in a cache was not computed."""
    kept = ("keys", "values", "key_positions")
    return sum(record.value.numel() for record in recorded.values() if record.name not in kept)
