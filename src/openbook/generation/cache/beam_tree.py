"""The beams of a cache's rows as a tree of columns."""

from collections.abc import Sequence

import torch
from torch import Tensor

from openbook.generation.cache.capacity import Capacity, concat_left_padded

PRUNE_STEPS = 4
"""Steps after which columns that no beam continues are removed."""


class BeamTree:
    """The columns that each beam continues: `ancestors` (B, W, C), False in columns that are not filled.

    Beams are never copied. The tokens of all of a row's beams are columns of that row, and each beam attends to those
    that it continues.

    Args:
        ancestors: (B, W, S) of the columns so far.
        capacity: the room for columns.
    """

    def __init__(self, ancestors: Tensor, capacity: Capacity) -> None:
        self._capacity = capacity
        self.prune_at = ancestors.shape[2] + PRUNE_STEPS * ancestors.shape[1]
        self.ancestors = capacity.pad(ancestors, False)

    def branch(self, parents: Tensor) -> None:
        """Beam i of each row now continues what was beam parents (B, W)[i]."""
        self.ancestors = self.ancestors.gather(1, parents[..., None].expand(-1, -1, self.ancestors.shape[-1]))

    def append(self, start: int, end: int) -> None:
        """Add a column for each beam's newest token, which only that beam sees."""
        self.ancestors = self._capacity.pad(self.ancestors, False)
        itself = torch.eye(end - start, dtype=torch.bool, device=self.ancestors.device)
        self.ancestors[..., start:end] = itself

    def used_columns(self) -> tuple[Tensor, Tensor]:
        """The columns (B, S) that some beam continues, and whether it is one (B, S).

        Rows that use fewer columns than others begin with some that are not used.
        """
        used = self.ancestors.any(dim=1)
        most = int(used.sum(dim=1).max())
        columns = used.to(torch.uint8).argsort(dim=1, stable=True)[:, -most:]
        return columns, used.gather(1, columns)

    def select_columns(self, columns: Tensor) -> None:
        """Keep only these columns (B, S) of each row; make room for as many as come before the next pruning."""
        beams = self.ancestors.shape[1]
        self.prune_at = self._capacity.columns = columns.shape[1] + PRUNE_STEPS * beams
        kept = self.ancestors.gather(2, columns[:, None].expand(-1, beams, -1))
        self.ancestors = self._capacity.pad(kept, False)

    def reorder(self, rows: Tensor) -> None:
        """Row i becomes what row rows[i] was."""
        self.ancestors = self.ancestors[rows]

    def join(self, others: Sequence["BeamTree"], lengths: Sequence[int], start: int) -> None:
        """Append the rows of other trees.

        `lengths` are the filled columns here and in each of them; here those before `start` are dropped.
        """
        trees = (self, *others)
        filled = [tree.ancestors[..., :length] for tree, length in zip(trees, lengths, strict=True)]
        joined = concat_left_padded([filled[0][..., start:], *filled[1:]], False)
        self.ancestors = self._capacity.pad(joined, False)
        self.prune_at = max(self.prune_at - start, *(tree.prune_at for tree in others))
