"""Where the first number that is NaN or infinite came about: everything that follows from it is one too."""

from dataclasses import dataclass

import torch

from openbook.explanation.traced_generation import TracedRun

_MASKED = ("masked_scores",)
"""Quantities in which −∞ is what masking means."""


@dataclass(frozen=True)
class NotFinite:
    """A recorded number that is NaN or infinite: its step, path, index and value."""

    step: int
    path: str
    index: tuple[int, ...]
    value: float


def first_not_finite(run: TracedRun) -> NotFinite | None:
    """The first one in computed order; None where the logits of all steps are finite."""
    if all(step.finite for step in run.steps):
        return None
    for step in run.steps:
        for record in run.trace(step.number).values():
            wrong = ~torch.isfinite(record.value)
            if record.name in _MASKED:
                wrong &= record.value != -torch.inf
            if wrong.any():
                index = tuple(torch.argwhere(wrong)[0].tolist())
                return NotFinite(step.number, record.path, index, record.value[index].item())
    return None
