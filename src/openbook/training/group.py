"""The processes that train together. One process is a group of one, in which nothing is sent.

Every process of a group runs the same code, and calls the same methods of its group in the same order.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

T = TypeVar("T")

EVERY = slice(None)
"""The share of a process that is alone: all."""

RANK, SIZE = "RANK", "WORLD_SIZE"
"""What torchrun tells a process: its number, and how many there are."""


class Group:
    """A group of one.

    Attributes:
        rank: the number of this process, from 0.
        size: how many processes there are.
        local_size: how many of them share this machine.
        sharded: whether each process holds a part of every weight, so that all pass through the model together.
    """

    rank, size, local_size = 0, 1, 1
    sharded = False

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that prepares, writes and speaks."""
        return self.rank == 0

    @property
    def share(self) -> slice:
        """Picks what falls to this process from a sequence that all have."""
        return slice(self.rank, None, self.size)

    def scored_here(self, batches: Iterable[T]) -> Iterator[T]:
        """Those of some batches that this process scores; add up what comes out with `total_score`."""
        return iter(batches) if self.sharded else islice(batches, self.rank, None, self.size)

    def total_score(self, nats: float, count: int) -> tuple[float, int]:
        """The summed cross-entropy and the tokens of all batches, of which each process scored its own."""
        if self.sharded:
            return nats, count
        nats, total = self.total(nats, count)
        return nats, int(total)

    def total(self, *numbers: float) -> list[float]:
        """Each number summed over all processes."""
        return list(numbers)

    def most(self, number: float) -> float:
        """The largest of all processes' numbers."""
        return number

    def reading(self, number: float) -> float:
        """The first process's number, such as the time on its clock."""
        return number

    def agreed(self, value: T) -> T:
        """The first process's value."""
        return value

    def all_values(self, value: T) -> list[T]:
        """The values of all processes, by rank."""
        return [value]

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """The first process runs the block before the others, who find there what it made.

        Raises:
            OpenbookError: it failed in the first process.
        """
        yield

    def together(self, work: Callable[[], T]) -> T:
        """Run `work` in every process; where it fails in one, it fails in all.

        Raises:
            OpenbookError: naming the process.
        """
        return work()

    def add_gradients(self, parameters: "Sequence[nn.Parameter]", *numbers: float) -> list[float]:
        """Leave the sum of all processes' gradients in every process; returns each number summed too."""
        return list(numbers)

    def divided(self, work: "Callable[[Tensor], Tensor]", rows: "Tensor") -> "Tensor":
        """`work(rows)` for rows that all have, and that work treats one by one: each process may do a share."""
        return work(rows)

    def device(self, device: "torch.device") -> "torch.device":
        """The device of this process, where all are to compute on a kind of device."""
        return device

    def speaks(self) -> bool:
        """Whether it falls to this process to say how the group ended: true in one of them, once."""
        return not is_silent()

    def leave(self) -> None:
        """End the group."""


ALONE = Group()
_current = ALONE


def current_group() -> Group:
    """The group that this process has joined; until then it is alone."""
    return _current


@contextmanager
def member_of(group: Group) -> Iterator[Group]:
    """Makes a group the current one, and leaves it if all goes well. Otherwise it is still needed to say what did."""
    global _current
    _current = group
    yield group
    group.leave()
    _current = ALONE


def local(tensor: "Tensor") -> "Tensor":
    """This process's part of a tensor that is split among processes; another tensor itself."""
    part: Callable[[], Tensor] | None = getattr(tensor, "to_local", None)
    return tensor if part is None else part()


def whole(tensor: "Tensor") -> "Tensor":
    """The whole of a tensor that is split among processes, which all ask for it; another tensor itself."""
    gather: Callable[[], Tensor] | None = getattr(tensor, "full_tensor", None)
    return tensor if gather is None else gather()


def drop_gathered(model: "nn.Module") -> None:
    """Leave each process with its own parts of the weights of a sharded model, to be read or changed."""
    for module in model.modules():
        reshard: Callable[[], None] | None = getattr(module, "reshard", None)
        if reshard is not None:
            reshard()


def part_sizes(rows: int, processes: int) -> list[int]:
    """How many rows of a tensor each process has; the last ones may have fewer, or none."""
    height = -(-rows // processes)
    return [max(0, min(height, rows - rank * height)) for rank in range(processes)]


def copy_into(tensor: "Tensor", source: "Tensor") -> None:
    """Copy a whole tensor into another, or this process's rows of it into its part of one that is split."""
    if local(tensor) is tensor:
        tensor.copy_(source)
    else:
        sizes = part_sizes(source.shape[0], _current.size)
        start = sum(sizes[: _current.rank])
        local(tensor).copy_(source[start : start + sizes[_current.rank]])


def is_member() -> bool:
    """Whether torchrun, or `--processes`, started this process as one of several."""
    return int(os.environ.get(SIZE, 1)) > 1 and RANK in os.environ


def is_silent() -> bool:
    """Whether this process leaves all speaking to another."""
    return is_member() and os.environ[RANK] != "0"
