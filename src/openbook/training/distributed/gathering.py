"""Writing tensors that are split among processes to one file, with one whole tensor in memory at a time."""

from collections.abc import Callable, Iterator, Mapping

from torch import Tensor

from openbook.training.group import current_group, whole


def write_gathered(tensors: Mapping[str, Tensor], write: Callable[[Iterator[tuple[str, Tensor]]], None]) -> None:
    """Gather one tensor after the other, and let the first process write them.

    Args:
        tensors: split or whole, by name; in every process the same names in the same order.
        write: is given names and whole tensors, in the first process.

    Raises:
        OpenbookError: in all processes, if writing fails.
    """
    group = current_group()
    gathered = ((name, whole(tensor)) for name, tensor in tensors.items())

    def work() -> None:
        try:
            if group.is_first:
                write(gathered)
        finally:
            for _ in gathered:  # the others wait for what is left, even where writing failed
                pass

    group.together(work)
