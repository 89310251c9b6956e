"""How our tensors and a family's tensors hold the same numbers: one list of links serves import and export.

A link says that a part of one of ours equals a part of one of theirs. A family's key table gives for each of our
modules the module, or the layout, that holds its numbers.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from openbook.errors import OpenbookError
from openbook.model_file.meta_model import expected_shapes
from openbook.transformer.architecture import Architecture

Shape = tuple[int, ...]
Index = tuple[int | slice, ...]
"""A part of a tensor: whole numbers pick one place of an axis, axes that are not named are whole."""


@dataclass(frozen=True)
class Link:
    """ours[ours_at] equals theirs[theirs_at], the latter with its last two axes exchanged where `transposed`.

    An `optional` one may be absent, and ours is zero then. `packed` says that theirs is a pair of tensors, `…_blocks`
    and `…_scales`, of 4-bit numbers (see `mxfp4`).
    """

    ours: str
    theirs: str
    ours_at: Index = ()
    theirs_at: Index = ()
    transposed: bool = False
    packed: bool = False
    optional: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """The tensors that theirs is made of."""
        if not self.theirs:
            return ()
        return (f"{self.theirs}_blocks", f"{self.theirs}_scales") if self.packed else (self.theirs,)

    def renamed(self, theirs: str) -> "Link":
        """The same link to a tensor of another name."""
        return replace(self, theirs=theirs)


Layout = Callable[[str, str, Shape], Iterable[Link]]
"""Our tensor's name, its last part (weight, bias) and shape → links."""

Table = Mapping[str, str | Layout]
"""Our module, with # for the number of a block → their module, or the layout of it."""


class NoPlaceError(OpenbookError):
    """Something of ours has no counterpart in a family."""


def links(architecture: Architecture, table: Table) -> Iterator[Link]:
    """All links of an architecture by a table, in the order in which the model uses its tensors.

    Raises:
        NoPlaceError: a tensor of the architecture is not in the table.
    """
    for ours, shape in expected_shapes(architecture).items():
        module, _, leaf = ours.rpartition(".")
        block = re.search(r"\.blocks\.(\d+)\.", ours)
        layout = table.get(re.sub(r"\.blocks\.\d+\.", ".blocks.#.", module))
        if layout is None:
            raise NoPlaceError(f"there is no place for {ours}")
        each = [Link(ours, f"{layout}.{leaf}")] if isinstance(layout, str) else layout(ours, leaf, shape)
        number = block[1] if block else "#"
        yield from (link.renamed(link.theirs.replace("#", number)) for link in each)


def transposed(theirs: str) -> Layout:
    """A matrix that stands on its side; vectors stay."""
    return lambda ours, leaf, shape: [Link(ours, f"{theirs}.{leaf}", transposed=len(shape) > 1)]


def fused(theirs: str, start: Callable[[Shape], int]) -> Layout:
    """Part of a matrix on its side that holds several of ours beside each other, from column `start` on."""

    def layout(ours: str, leaf: str, shape: Shape) -> Iterator[Link]:
        part = slice(start(shape), start(shape) + shape[0])
        at = (part,) if len(shape) == 1 else (slice(0, None), part)
        yield Link(ours, f"{theirs}.{leaf}", theirs_at=at, transposed=len(shape) > 1)

    return layout


def stacked(theirs: str, rows: Callable[[int], slice], *, on_side: bool = False, packed: bool = False) -> Layout:
    """All experts in one tensor, ours being some rows of each: `rows(F)` of the F rows that ours has.

    `on_side` says that the rows of an expert are columns there. A bias follows with `_bias` in place of `.bias`.
    """

    def layout(ours: str, leaf: str, shape: Shape) -> Iterator[Link]:
        part = rows(shape[1])
        name, matrix = (theirs, True) if leaf == "weight" else (f"{theirs}_{leaf}", False)
        for expert in range(shape[0]):
            side = on_side and matrix
            at: Index = (expert, slice(0, None), part) if side else (expert, part)
            yield Link(ours, name, (expert,), at, side, packed and matrix)

    return layout


def shifted(theirs: str, rows: int) -> Layout:
    """A table with unused rows before ours."""
    return lambda ours, leaf, shape: [Link(ours, f"{theirs}.{leaf}", theirs_at=(slice(rows, None),))]


def each_expert(theirs: str) -> Layout:
    """Experts in a module each, numbered in place of *."""

    def layout(ours: str, leaf: str, shape: Shape) -> Iterator[Link]:
        for expert in range(shape[0]):
            yield Link(ours, f"{theirs.replace('*', str(expert))}.{leaf}", ours_at=(expert,))

    return layout


def by_rank(matrix: str, stack: Layout) -> Layout:
    """A plain module where ours is a matrix, another layout where it holds all experts."""

    def layout(ours: str, leaf: str, shape: Shape) -> Iterable[Link]:
        return [Link(ours, f"{matrix}.{leaf}")] if len(shape) < 3 else stack(ours, leaf, shape)

    return layout


def extent(parts: Iterable[tuple[Link, Shape]]) -> Shape:
    """The shape of one of their tensors, from all links to it and the shape of our part in each."""
    largest: list[int] = []
    for link, shape in parts:
        within = list((*shape[:-2], *reversed(shape[-2:])) if link.transposed else shape)
        reached = []
        for place in link.theirs_at:
            if isinstance(place, int):
                reached.append(place + 1)
            else:
                reached.append((place.start or 0) + (within.pop(0) - 1) * (place.step or 1) + 1)
        reached += within
        largest = [max(pair) for pair in zip(largest, reached, strict=True)] if largest else reached
    return tuple(largest)
