"""What a rule reads: recorded values, weights, constants. Each of them is a step that a person can follow down."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import repeat
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from openbook.errors import OpenbookError
from openbook.explanation.expression import Expression, Node, Place, constant, named, sum_over
from openbook.explanation.expression_text import format_formula
from openbook.trace import Trace

OperandKind = Literal["recorded", "weight", "constant", "given"]

SINGLETON = constant(0, "")
"""The only index of an axis of length 1. Formulas leave it out."""


class TensorOffset(NamedTuple):
    """Where a tensor lies in the model file: absolute byte offset, bytes per number, shape, numbers in each byte."""

    offset: int
    itemsize: int
    shape: tuple[int, ...]
    per_byte: int = 1

    def byte(self, index: tuple[int, ...]) -> int:
        """The absolute byte at which one number begins."""
        flat = 0
        for position, length in zip(index, self.shape, strict=True):
            flat = flat * length + position
        return self.offset + flat * self.itemsize // self.per_byte


@dataclass(slots=True)  # not frozen: a sum over a large vocabulary has many
class Number:
    """One number, its index in the tensor, and for a weight its first byte in the model file."""

    value: float
    index: tuple[int, ...]
    byte: int | None = None


@dataclass(frozen=True)
class Operand:
    """One name of a formula: a single number, or one for each value of a running letter.

    `symbols` is the name as the formula writes it, with its index. `source` is a recorded path, a tensor's name, or for
    a constant where in the architecture it comes from.
    """

    symbols: str
    kind: OperandKind
    source: str
    numbers: tuple[Number, ...]


@dataclass(frozen=True)
class Sum:
    """A Σ of a formula, its running letter and each of its terms."""

    letter: str
    symbols: str
    terms: tuple[float, ...]
    total: float


@dataclass
class Reader:
    """Reads the operands of one recorded tensor, and finds them in the graph that the trace recorded.

    With `keep`, what is read is kept in `operands` and `sums`.

    Attributes:
        part: the module whose rule is at work, and `path` its path.
        noted_at: the path of its notes: its own, or that of the module that called one of its methods.
        name: of the note that is derived.
        offsets: where each tensor lies in the model file.
        definitions: short names inside the formula, each with what it stands for.
        meaning: what the number is in this model, where the rule's own docstring says more than holds.
    """

    model: nn.Module
    trace: Trace
    part: nn.Module
    path: str
    noted_at: str
    name: str
    offsets: Mapping[str, TensorOffset] = field(default_factory=dict)
    keep: bool = False
    operands: list[Operand] = field(default_factory=list)
    sums: list[Sum] = field(default_factory=list)
    definitions: dict[str, Node] = field(default_factory=dict)
    meaning: str | None = None

    # Where the operands are.

    def path_of(self, name: str) -> str:
        """The path of a note of the same part."""
        return _join(self.noted_at, name)

    def has(self, name: str) -> bool:
        """Whether the same part made this note."""
        return self.path_of(name) in self.trace

    def first_of(self, *names: str) -> str:
        """The path of the first of these notes that the same part made."""
        return next(self.path_of(name) for name in names if self.has(name))

    def input_of(self, child: str = "") -> str:
        """The path of the recorded value that the part, or a child of it, was called with."""
        module = _join(self.path, child)
        first = next(iter(self.trace.inputs.get(module, ())), None)
        if first is None:
            raise OpenbookError(
                f"the input of {module or 'the model'} is not recorded; trace the whole model and derive again"
            )
        return first

    def output_of(self, child: str) -> str:
        """The path of the value that a child returned: its `output`, or its input when it does nothing."""
        output = _join(_join(self.path, child), "output")
        return output if output in self.trace else self.input_of(child)

    def argument(self, name: str) -> str | None:
        """The path of the value of this name that the part, or the nearest part around it, was called with."""
        module = self.path
        while True:
            for path in self.trace.inputs.get(module, ()):
                if path is not None and self.trace[path].name == name:
                    return path
            if not module:
                return None
            module = module.rpartition(".")[0]

    def last_noted(self, name: str) -> str:
        """The path of the last value noted under this name, by whichever part."""
        return next(path for path in reversed(self.trace.records) if self.trace[path].name == name)

    def shape(self, path: str) -> torch.Size:
        """The shape of a recorded value."""
        return self.trace[path].value.shape

    # What the operands are.

    def recorded(self, path: str, *index: Expression, name: str | None = None) -> Expression:
        """A recorded value; `name` is what the formula calls it where the note's own name would not help."""
        record = self.trace[path]
        return self._read("recorded", path, record.value, index, name or record.name)

    def noted(self, note: str, *index: Expression, name: str | None = None) -> Expression:
        """A value that the same part noted; `name` as in `recorded`."""
        return self.recorded(self.path_of(note), *index, name=name)

    def given(self, path: str, source: str, *index: Expression) -> Expression:
        """A recorded value that nothing in this pass explains; `source` says where it comes from."""
        given = self._read("given", source, self.trace[path].value, index, self.name)
        index_nodes = tuple(each.node for each in index)
        words = Node(
            "words", name=f"given by {source}", value=given.node.value, place=Place("given", path, index_nodes)
        )
        return Expression(given.value, words)

    def weight(self, name: str, *index: Expression) -> Expression:
        """A number of the part's weights; `name` is relative to the part."""
        return self.model_weight(_join(self.path, name), *index, name=name)

    def model_weight(self, tensor: str, *index: Expression, name: str) -> Expression:
        """A number of any part's weights, by the whole name of the tensor."""
        return self._read("weight", tensor, self.model.get_parameter(tensor).detach(), index, name)

    def setting(self, name: str, value: float, field: str) -> Expression:
        """The number in this field of the architecture."""
        return self.constant(name, value, f"{field} of the architecture")

    def constant(self, name: str, value: float, source: str) -> Expression:
        """A number that follows from the architecture; `source` says how."""
        if self.keep:
            self._keep(Operand(name, "constant", source, (Number(value, ()),)))
        return constant(value, name, source)

    def sum(self, letter: str, terms: Expression) -> Expression:
        """Σ over the running letter; its terms are kept."""
        total = sum_over(letter, terms)
        if self.keep:
            self.sums.append(
                Sum(letter, format_formula(total.node), tuple(terms.value[0].tolist()), total.value[0].item())
            )
        return total

    def define(self, name: str, expression: Expression) -> Expression:
        """A short name for part of a formula."""
        self.definitions[name] = expression.node
        return named(expression.value, name)

    def _read(
        self, kind: OperandKind, source: str, tensor: Tensor, index: tuple[Expression, ...], name: str
    ) -> Expression:
        # An axis of length 1 stands for all (positions of a batch, heads of a mask), as in broadcasting.
        columns = [
            each.value.long() if length > 1 else torch.zeros(1, 1, dtype=torch.long)
            for each, length in zip(index, tensor.shape, strict=True)
        ]
        rows, terms = (max(each.shape[axis] for each in columns) for axis in (0, 1))
        where = tuple(each.expand(rows, terms) for each in columns)
        value = tensor[where].to("cpu", torch.float64)
        every = tuple(each.node for each in index)
        result = named(value, name, [each for each in every if not _is_unnamed(each)], Place(kind, source, every))
        if self.keep:
            indices = list(map(tuple, torch.stack(where, -1)[0].tolist()))
            offset = self.offsets.get(source) if kind == "weight" else None
            bytes_ = repeat(None, len(indices)) if offset is None else map(offset.byte, indices)
            numbers = tuple(map(Number, value[0].tolist(), indices, bytes_))
            self._keep(Operand(format_formula(result.node), kind, source, numbers))
        return result

    def _keep(self, operand: Operand) -> None:
        if operand not in self.operands:
            self.operands.append(operand)


def _is_unnamed(index: Node) -> bool:
    """Whether formulas leave out this index: the row of the batch, or that of an axis of length 1."""
    return index.operator == "name" and not index.name


def _join(module: str, name: str) -> str:
    return f"{module}.{name}" if module and name else module or name
