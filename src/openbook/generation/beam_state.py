"""The open beams of a batch as arrays."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from openbook.generation.arrays import BoolArray, FloatArray, IntArray
from openbook.generation.engines.engine import Continuations
from openbook.generation.padding import PADDING, concat_left_padded, first_used_column, left_padded


@dataclass(frozen=True)
class BeamState:
    """The W open beams of each of B rows, best first.

    The numbers are few, so they stay in NumPy on the processor; a step on a GPU then waits for it only once.

    Attributes:
        tokens: (B, W, T) ids of prompt and continuation, padded on the left.
        log_probs: (B, W) Σ log p of the continuation; −∞ where there is no beam.
        produced: (B,) tokens produced so far.
        limits: (B,) most tokens to produce.
        has_enough: (B,) whether enough hypotheses of the row are finished.
    """

    tokens: IntArray
    log_probs: FloatArray
    produced: IntArray
    limits: IntArray
    has_enough: BoolArray

    @classmethod
    def start(cls, prompts: Sequence[Sequence[int]], limits: Sequence[int]) -> "BeamState":
        """One beam a row, which has produced nothing."""
        return cls(
            tokens=left_padded(prompts)[:, None],
            log_probs=np.zeros((len(prompts), 1), dtype=np.float32),
            produced=np.zeros(len(prompts), dtype=np.int64),
            limits=np.array(limits, dtype=np.int64),
            has_enough=np.zeros(len(prompts), dtype=bool),
        )

    @property
    def newest(self) -> IntArray:
        """The last token of each beam, (B, W)."""
        return self.tokens[..., -1]

    @property
    def at_last(self) -> BoolArray:
        """(B,) whether the next token is the last that the row may produce."""
        return self.produced + 1 == self.limits

    def extended(self, best: Continuations) -> "BeamState":
        """The state after a step: `best` are the continuations (B, W) that stay open."""
        tokens = np.concatenate((gather(self.tokens, best.parents), best.tokens[..., None]), axis=-1)
        return BeamState(tokens, best.log_probs, self.produced + 1, self.limits, self.has_enough)

    def select(self, rows: Sequence[int]) -> "BeamState":
        """These rows, in this order."""
        return BeamState(*(getattr(self, field.name)[rows] for field in fields(self)))

    def concatenate(self, other: "BeamState") -> "BeamState":
        """The rows of both, without columns that are all padding here."""
        mine = self.tokens[..., first_used_column(self.tokens) :]
        tokens = concat_left_padded([mine, other.tokens], PADDING)
        rest = [each.name for each in fields(self) if each.name != "tokens"]
        return BeamState(tokens, *(np.concatenate((getattr(self, name), getattr(other, name))) for name in rest))


def gather(values: Any, indices: IntArray) -> Any:
    """values (B, C, …) at indices (B, W) of each row → (B, W, …)."""
    if values.shape[1] == indices.shape[1] == 1:
        return values
    return values[np.arange(len(values))[:, None], indices]
