"""The trail of a beam search: the tree of all beams that were open or ended, with what each was worth."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

Step = tuple[int, int, float]
"""Which of the open beams it goes on from, the token, and Σ log p."""


@dataclass(frozen=True)
class Node:
    """A beginning that was followed for at least a step, or that ended.

    `parent` is the place of the node before it in the row's list, None for the first token. `log_probability` is
    Σ log p up to here. `state` is "ended" for a finished sequence, "open" for a beam; a beam without children was
    given up, or was still open when the search was over.
    """

    token: int
    parent: int | None
    depth: int
    log_probability: float
    state: Literal["open", "ended"]


class BeamTrace:
    """What a search tells about each row: its nodes, parents before children, and each step's best first."""

    def __init__(self) -> None:
        self.nodes: dict[int, list[Node]] = defaultdict(list)
        self._open: dict[int, list[int]] = {}

    def note(self, row: int, ended: Sequence[Step], still_open: Sequence[Step]) -> None:
        """Add one step of a row: the sequences that ended in it, and the beams that are open after it."""
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
        """The places of the nodes that follow each node; None is the root."""
        follow: dict[int | None, list[int]] = defaultdict(list)
        for place, node in enumerate(self.nodes[row]):
            follow[node.parent].append(place)
        return follow

    def path(self, row: int, place: int) -> list[int]:
        """The tokens from the first to this node."""

        def back(at: int | None) -> Iterator[int]:
            while at is not None:
                yield self.nodes[row][at].token
                at = self.nodes[row][at].parent

        return [*back(place)][::-1]
