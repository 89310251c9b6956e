"""Which part of which tensor of a family holds the same numbers as a part of ours.

One list of mappings serves import and export. A family's key table gives, for each of our modules, the module of theirs
that holds its numbers, or a `TensorLayout` where one module does not hold just one of ours.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from openbook.errors import OpenbookError
from openbook.model_file.header import Shape

Index = tuple[int | slice, ...]
"""A part of a tensor: an int picks one place of an axis; axes that are not named are whole."""


@dataclass(frozen=True)
class TensorMapping:
    """ours[our_index] equals theirs[their_index].

    Attributes:
        ours: name of our tensor.
        theirs: name of theirs; empty where an optional one is absent.
        our_index: part of ours.
        their_index: part of theirs.
        transposed: the last two axes of theirs are exchanged.
        mxfp4: theirs is a pair of tensors, `…_blocks` and `…_scales`, of 4-bit numbers (see `mxfp4`).
        optional: theirs may be absent, and ours is zero then.
    """

    ours: str
    theirs: str
    our_index: Index = ()
    their_index: Index = ()
    transposed: bool = False
    mxfp4: bool = False
    optional: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """The tensors in the file that theirs is made of."""
        if not self.theirs:
            return ()
        return (f"{self.theirs}_blocks", f"{self.theirs}_scales") if self.mxfp4 else (self.theirs,)

    def renamed(self, theirs: str) -> "TensorMapping":
        """The same mapping to a tensor of another name."""
        return replace(self, theirs=theirs)


TensorLayout = Callable[[str, str, Shape], Iterable[TensorMapping]]
"""Our tensor's name, its last part (weight, bias) and shape → its mappings."""

KeyTable = Mapping[str, str | TensorLayout]
"""Our module, with # for the number of a block → their module, or the layout of it."""


class NoCounterpartError(OpenbookError):
    """Something of ours has no counterpart in a family."""


def tensor_mappings(shapes: Mapping[str, Shape], table: KeyTable) -> Iterator[TensorMapping]:
    """All mappings of tensors with these names and shapes, in the same order.

    Raises:
        NoCounterpartError: a tensor's module is not in the table.
    """
    for ours, shape in shapes.items():
        module, _, leaf = ours.rpartition(".")
        block = re.search(r"\.blocks\.(\d+)\.", ours)
        layout = table.get(re.sub(r"\.blocks\.\d+\.", ".blocks.#.", module))
        if layout is None:
            raise NoCounterpartError(f"it has no tensor for {ours}")
        each = [TensorMapping(ours, f"{layout}.{leaf}")] if isinstance(layout, str) else layout(ours, leaf, shape)
        number = block[1] if block else "#"
        yield from (mapping.renamed(mapping.theirs.replace("#", number)) for mapping in each)


def prefixed(prefix: str, layout: str | TensorLayout) -> str | TensorLayout:
    """A module or layout whose names get this prefix."""
    if isinstance(layout, str):
        return prefix + layout
    return lambda ours, leaf, shape: (each.renamed(prefix + each.theirs) for each in layout(ours, leaf, shape))


def transposed(theirs: str) -> TensorLayout:
    """A matrix stored as (in, out); vectors stay as they are."""
    return lambda ours, leaf, shape: [TensorMapping(ours, f"{theirs}.{leaf}", transposed=len(shape) > 1)]


def fused_columns(theirs: str, start: Callable[[Shape], int]) -> TensorLayout:
    """Columns of a matrix (in, out) that holds several of ours side by side; ours begin at column `start`."""

    def layout(ours: str, leaf: str, shape: Shape) -> Iterator[TensorMapping]:
        part = slice(start(shape), start(shape) + shape[0])
        index = (part,) if len(shape) == 1 else (slice(0, None), part)
        yield TensorMapping(ours, f"{theirs}.{leaf}", their_index=index, transposed=len(shape) > 1)

    return layout


def stacked_experts(
    theirs: str, rows: Callable[[int], slice], *, transposed: bool = False, mxfp4: bool = False
) -> TensorLayout:
    """All experts in one tensor (experts, rows, in).

    Args:
        theirs: the tensor; its bias is called `…_bias`, not `….bias`.
        rows: F, the rows of one of our experts → the rows of theirs that hold them.
        transposed: an expert's matrix is stored as (in, rows).
        mxfp4: the matrices are 4-bit.
    """

    def layout(ours: str, leaf: str, shape: Shape) -> Iterator[TensorMapping]:
        part = rows(shape[1])
        name, matrix = (theirs, True) if leaf == "weight" else (f"{theirs}_{leaf}", False)
        for expert in range(shape[0]):
            turned = transposed and matrix
            index: Index = (expert, slice(0, None), part) if turned else (expert, part)
            yield TensorMapping(ours, name, (expert,), index, turned, mxfp4 and matrix)

    return layout


def separate_experts(theirs: str) -> TensorLayout:
    """A module for each expert, with its number in place of *."""

    def layout(ours: str, leaf: str, shape: Shape) -> Iterator[TensorMapping]:
        for expert in range(shape[0]):
            yield TensorMapping(ours, f"{theirs.replace('*', str(expert))}.{leaf}", our_index=(expert,))

    return layout


def matrix_or_experts(matrix: str, experts: TensorLayout) -> TensorLayout:
    """A plain module in blocks without experts, another layout in blocks that have them."""

    def layout(ours: str, leaf: str, shape: Shape) -> Iterable[TensorMapping]:
        return [TensorMapping(ours, f"{matrix}.{leaf}")] if len(shape) < 3 else experts(ours, leaf, shape)

    return layout


def after_unused_rows(theirs: str, rows: int) -> TensorLayout:
    """A table that begins with some rows that are never used."""
    return lambda ours, leaf, shape: [TensorMapping(ours, f"{theirs}.{leaf}", their_index=(slice(rows, None),))]


def full_shape(parts: Iterable[tuple[TensorMapping, Shape]]) -> Shape:
    """The shape of one of their tensors, from all mappings to it and the shape of our part in each."""
    largest: list[int] = []
    for mapping, shape in parts:
        remaining = list((*shape[:-2], *reversed(shape[-2:])) if mapping.transposed else shape)
        lengths = []
        for place in mapping.their_index:
            if isinstance(place, int):
                lengths.append(place + 1)
            else:
                lengths.append((place.start or 0) + (remaining.pop(0) - 1) * (place.step or 1) + 1)
        lengths += remaining
        largest = [max(pair) for pair in zip(largest, lengths, strict=True)] if largest else lengths
    return tuple(largest)
