"""What a rule reads: recorded values, weights, constants. Each reading is a step a person can follow down."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from openbook.errors import OpenbookError
from openbook.explanation.expression import SIGMA, Expression, constant, named, plain
from openbook.trace import Trace

Kind = Literal["recorded", "weight", "constant", "given"]

ONLY = constant(0, "")
"""The one index of an axis of length 1; formulas leave it out."""


class TensorPlace(NamedTuple):
    """Where a tensor lies in the model file: absolute byte offset, bytes a number, shape."""

    offset: int
    itemsize: int
    shape: tuple[int, ...]

    def byte(self, index: tuple[int, ...]) -> int:
        """The absolute byte at which one number begins."""
        number = 0
        for place, length in zip(index, self.shape, strict=True):
            number = number * length + place
        return self.offset + number * self.itemsize


@dataclass(frozen=True)
class Number:
    """One number, its index in the tensor, and for a weight its first byte in the model file."""

    value: float
    index: tuple[int, ...]
    byte: int | None = None


@dataclass(frozen=True)
class Operand:
    """One name of a formula: a single number, or a run of them along a running letter.

    `source` is a recorded path, a tensor's name, or for a constant where the architecture has it from.
    """

    symbols: str
    kind: Kind
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
    """Reads the operands of one noted quantity.

    `part` is the module whose rule is at work and `path` its path. `noted` is the path under which its notes
    stand: its own, or that of the module that called one of its methods. With `keep`, what is read is kept in
    `operands`, `sums` and `definitions` for a person to see.
    """

    model: nn.Module
    trace: Trace
    part: nn.Module
    path: str
    noted: str
    name: str
    places: Mapping[str, TensorPlace] = field(default_factory=dict)
    keep: bool = False
    operands: list[Operand] = field(default_factory=list)
    sums: list[Sum] = field(default_factory=list)
    definitions: list[tuple[str, str, str]] = field(default_factory=list)

    # Where the operands are: the graph that the trace recorded.

    def own(self, name: str) -> str:
        """The path of another note of the same part."""
        return _join(self.noted, name)

    def noted_too(self, name: str) -> bool:
        """Whether the same part also noted this."""
        return self.own(name) in self.trace

    def into(self, child: str = "") -> str:
        """The recorded value that the part, or a child of it, was called with."""
        module = _join(self.path, child)
        first = next(iter(self.trace.inputs.get(module, ())), None)
        if first is None:
            raise OpenbookError(f"what {module or 'the model'} was called with is not recorded; trace the whole model")
        return first

    def out_of(self, child: str) -> str:
        """The recorded value that a child gave back: its `output`, or what it was given when it does nothing."""
        output = _join(_join(self.path, child), "output")
        return output if output in self.trace else self.into(child)

    def argument(self, name: str) -> str | None:
        """The recorded value of this name that the part, or the nearest part around it, was called with."""
        module = self.path
        while True:
            for path in self.trace.inputs.get(module, ()):
                if path is not None and self.trace[path].name == name:
                    return path
            if not module:
                return None
            module = module.rpartition(".")[0]

    def latest(self, name: str) -> str:
        """The last value noted under this name, whichever part noted it."""
        return next(path for path in reversed(self.trace.records) if self.trace[path].name == name)

    def shape(self, path: str) -> torch.Size:
        """The shape of a recorded value."""
        return self.trace[path].value.shape

    # What the operands are.

    def recorded(self, path: str, *index: Expression, name: str | None = None) -> Expression:
        """A recorded value; `name` is what the formula calls it when the note's own name would not help."""
        record = self.trace[path]
        return self._read("recorded", path, record.value, index, name or record.name)

    def given(self, path: str, source: str, *index: Expression) -> Expression:
        """A recorded value that nothing in this pass explains; `source` tells where it comes from."""
        given = self._read("given", source, self.trace[path].value, index, self.name)
        return replace(given, symbols=f"given by {source}")

    def weight(self, name: str, *index: Expression) -> Expression:
        """A trained number of the part; `name` is relative to it."""
        return self.weight_of_model(_join(self.path, name), *index, name=name)

    def weight_of_model(self, tensor: str, *index: Expression, name: str) -> Expression:
        """A trained number of any part, by its whole tensor name."""
        return self._read("weight", tensor, self.model.get_parameter(tensor).detach(), index, name)

    def constant(self, name: str, value: float, source: str) -> Expression:
        """A number of the architecture; `source` tells where it has it from."""
        if self.keep:
            self._keep(Operand(name, "constant", source, (Number(value, ()),)))
        return constant(value, name)

    def at(self, place: int) -> Expression:
        """A fixed index."""
        return constant(place, str(place))

    def each(self, letter: str, length: int) -> Expression:
        """A running letter: 0, 1, … length − 1 at once."""
        return Expression(torch.arange(length, dtype=torch.float64)[None], letter, letter)

    def total(self, letter: str, terms: Expression) -> Expression:
        """Σ over the running letter."""
        body = terms.symbols if terms.binds >= SIGMA else f"({terms.symbols})"
        symbols, value = f"Σ_{letter} {body}", terms.value.sum(-1, keepdim=True)
        if self.keep:
            self.sums.append(Sum(letter, symbols, tuple(terms.value[0].tolist()), value[0].item()))
        return Expression(value, symbols, plain(value[0].item()), SIGMA)

    def largest(self, letter: str, values: Expression) -> Expression:
        """The maximum over the running letter."""
        return named(values.value.amax(-1, keepdim=True), f"max_{letter} {values.symbols}")

    def most(self, letter: str, values: Expression) -> Expression:
        """The place at which the running letter finds the maximum."""
        place = values.value.argmax(-1, keepdim=True).to(torch.float64)
        return named(place, f"argmax_{letter} {values.symbols}")

    def ranked(self, letter: str, values: Expression, rank: Expression) -> Expression:
        """The place at which the running letter finds the largest value (rank 0), the next largest (rank 1) …"""
        order = values.value.sort(stable=True, dim=-1, descending=True).indices
        place = order.expand(len(rank.value), -1).gather(-1, rank.value.long())
        return named(place.to(torch.float64), f"the {letter} whose {values.symbols} has rank {rank.symbols}")

    def define(self, name: str, expression: Expression) -> Expression:
        """A short name for part of a formula."""
        if self.keep:
            self.definitions.append((name, expression.symbols, expression.numbers))
        return named(expression.value, name)

    def _read(self, kind: Kind, source: str, tensor: Tensor, index: tuple[Expression, ...], name: str) -> Expression:
        # An axis of length 1 stands for all (positions of a batch, heads of a mask), as in broadcasting.
        every = [
            each.value.long() if length > 1 else torch.zeros(1, 1, dtype=torch.long)
            for each, length in zip(index, tensor.shape, strict=True)
        ]
        rows, run = (max(each.shape[axis] for each in every) for axis in (0, 1))
        where = tuple(each.expand(rows, run) for each in every)
        value = tensor[where].to("cpu", torch.float64)
        inside = ",".join(each.symbols for each in index if each.symbols)
        symbols = f"{name}[{inside}]" if inside else name
        if self.keep:
            indices = [tuple(each) for each in torch.stack(where, -1)[0].tolist()]
            place = self.places.get(source) if kind == "weight" else None
            numbers = (
                Number(number, at, None if place is None else place.byte(at))
                for number, at in zip(value[0].tolist(), indices, strict=True)
            )
            self._keep(Operand(symbols, kind, source, tuple(numbers)))
        return named(value, symbols)

    def _keep(self, operand: Operand) -> None:
        if operand not in self.operands:
            self.operands.append(operand)


def _join(module: str, name: str) -> str:
    return f"{module}.{name}" if module and name else module or name
