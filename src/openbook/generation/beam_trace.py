"""The trace of a beam search: the tree of all beams that were open or ended, with their Σ log p."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

Step = tuple[int, int, float]
"""The open beam that is continued, the token, and Σ log p."""


@dataclass(frozen=True)
class Node:
    """A prefix that was followed for at least one step, or that ended.

    `parent` is the index of the node before it in the row's list, None for the first token. `log_probability` is
    Σ log p up to here. `state` is "ended" for a finished sequence, "open" for a beam; a beam without children was
    dropped, or was still open when the search was over.
    """

    token: int
    parent: int | None
    depth: int
    log_probability: float
    state: Literal["open", "ended"]


class BeamTrace:
    """The nodes of each row: parents before children, and each step's best first."""

    def __init__(self) -> None:
        self.nodes: dict[int, list[Node]] = defaultdict(list)
        self._open: dict[int, list[int]] = {}

    def add_step(self, row: int, ended: Sequence[Step], still_open: Sequence[Step]) -> None:
        """Add a step of a row: the sequences that ended in it, and the beams that are open after it."""
        nodes, before = self.nodes[row], self._open.get(row)

        def add(step: Step, state: Literal["open", "ended"]) -> int:
            beam, token, log_probability = step
            parent = None if before is None else before[beam]
            depth = 1 if parent is None else nodes[parent].depth + 1
            nodes.append(Node(token, parent, depth, log_probability, state))
            return len(nodes) - 1

        for step in ended:
            add(step, "ended")
        self._open[row] = [add(step, "open") for step in still_open]

    def children(self, row: int) -> dict[int | None, list[int]]:
        """The indices of the nodes that follow each node; None is the root."""
        follow: dict[int | None, list[int]] = defaultdict(list)
        for index, node in enumerate(self.nodes[row]):
            follow[node.parent].append(index)
        return follow

    def path(self, row: int, index: int) -> list[int]:
        """The tokens from the first to this node."""

        def back(at: int | None) -> Iterator[int]:
            while at is not None:
                yield self.nodes[row][at].token
                at = self.nodes[row][at].parent

        return [*back(index)][::-1]
