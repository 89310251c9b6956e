"""How one recorded number follows from its operands, and whether it really does.

    derivation = derive(model, trace, "decoder.blocks.0.self_attention.scores", (0, 1, 5, 2))
    derivation.formula       # scores[h,t,s] = scale · Σ_k query[t,h,k] · key[h,s,k]
    derivation.with_numbers  # 0.25 · 3.1
    derivation.steps()       # the recorded numbers that it follows from, each with a derivation of its own

Every formula is computed in float64 from recorded numbers, weights and constants of the architecture.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from openbook.errors import OpenbookError
from openbook.explanation.expression import Expression, Node, Place, named, with_numbers
from openbook.explanation.expression_text import format_formula
from openbook.explanation.reader import Operand, Reader, Sum, TensorOffset
from openbook.explanation.rules.table import FoundRule, find_rule
from openbook.trace import Record, Trace

CHUNK_ROWS = 512
"""Numbers that `recompute` computes together: enough to be quick, few enough for sums over a large vocabulary."""


@dataclass(frozen=True)
class Definition:
    """A short name inside a formula, what it stands for, and the same with numbers."""

    name: str
    formula: str
    with_numbers: str
    tree: Node


@dataclass(frozen=True)
class Derivation:
    """One recorded number, and how it follows from others.

    Attributes:
        path, index: which number this is.
        letters: the same in the letters of the formula: {"t": 5, "s": 2}.
        meaning: what the number is, for a newcomer.
        formula: how it follows; `with_numbers` the same with numbers in place of names.
        equation: the formula's left and right side as trees, see `expression.Node`.
        definitions: short names that the formula uses.
        operands: what each other name of the formula is.
        sums: each Σ with its terms.
        recomputed: the value of the formula, in float64.
        recorded: what the model computed.
        error: the difference of the two.
        relative_error: the error relative to the largest number of the recorded tensor, because a sum whose terms
            cancel has no small error of its own.
    """

    path: str
    index: tuple[int, ...]
    letters: Mapping[str, int]
    meaning: str
    formula: str
    with_numbers: str
    equation: tuple[Node, Node]
    definitions: tuple[Definition, ...]
    operands: tuple[Operand, ...]
    sums: tuple[Sum, ...]
    recomputed: float
    recorded: float
    error: float
    relative_error: float

    def steps(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Path and index of each recorded number among the operands: what to derive next on the way down."""
        for operand in self.operands:
            if operand.kind == "recorded":
                for number in operand.numbers:
                    yield operand.source, number.index


def derive(
    model: nn.Module,
    trace: Trace,
    path: str,
    index: Sequence[int],
    offsets: Mapping[str, TensorOffset] | None = None,
) -> Derivation:
    """How the number at `index` of the tensor recorded at `path` follows.

    Args:
        model: the model that was traced, with the weights it had then.
        trace: what was recorded.
        path: a recorded path, such as "decoder.blocks.0.self_attention.scores".
        index: one whole number for each axis.
        offsets: where each tensor lies in the model file, for the byte offsets of weights.

    Raises:
        OpenbookError: nothing is recorded at `path`, or `index` is out of range; the message says what there is.
        LookupError: no rule says how the tensor follows, a defect of this package.
    """
    ruled = _RuledRecord.of(model, trace, path)
    recorded = ruled.recorded
    _check(path, index, recorded.shape)
    read = ruled.reader(offsets or {}, keep=True)
    result = ruled.evaluate(read, torch.tensor([list(index)]))
    left, right = ruled.left(), result.node
    was, now = float(recorded[tuple(index)]), result.value.item()
    alike = now == was or (math.isnan(now) and math.isnan(was))  # two infinities have no difference, nor have two NaN
    error = 0.0 if alike else abs(now - was)
    return Derivation(
        path=path,
        index=tuple(index),
        letters={name: position for name, position in zip(ruled.letters, index, strict=True) if name != "_"},
        meaning=read.meaning or ruled.found.rule.meaning,
        formula=format_formula(left, right),
        with_numbers=format_formula(with_numbers(right)),
        equation=(left, right),
        definitions=tuple(
            Definition(name, format_formula(tree), format_formula(with_numbers(tree)), tree)
            for name, tree in read.definitions.items()
        ),
        operands=tuple(read.operands),
        sums=tuple(read.sums),
        recomputed=now,
        recorded=was,
        error=error,
        relative_error=error / _largest(recorded),
    )


@dataclass(frozen=True)
class GeneralFormula:
    """How every number of a recorded tensor follows: both cases of a condition, where there are two.

    Attributes:
        letters: of each axis; "_" for one of length 1.
        meaning: as in `Derivation`.
        equation: left and right side, as in `Derivation`; each leaf says where it takes its number from.
        definitions: short names that the formula uses, each with what it stands for.
    """

    letters: tuple[str, ...]
    meaning: str
    equation: tuple[Node, Node]
    definitions: tuple[tuple[str, Node], ...]


def general_formula(model: nn.Module, trace: Trace, path: str) -> GeneralFormula:
    """The formula of all numbers of the tensor recorded at `path`.

    The rule is evaluated at the first two and the last index along each axis, where the cases of rules differ.

    Raises:
        OpenbookError, LookupError: as `derive`.
    """
    ruled = _RuledRecord.of(model, trace, path)
    read = ruled.reader({}, keep=False)
    ends = [torch.tensor(sorted({0, min(1, length - 1), length - 1})) for length in ruled.recorded.shape]
    result = ruled.evaluate(read, torch.cartesian_prod(*ends).reshape(-1, len(ends)))
    equation, definitions = (ruled.left(), result.node), tuple(read.definitions.items())
    return GeneralFormula(ruled.letters, read.meaning or ruled.found.rule.meaning, equation, definitions)


def axes(model: nn.Module, trace: Trace, path: str) -> tuple[str, ...]:
    """The letter of each axis of the tensor recorded at `path`; "_" for an axis of length 1."""
    return _RuledRecord.of(model, trace, path).letters


def recompute(model: nn.Module, trace: Trace, path: str) -> Tensor:
    """The whole tensor recorded at `path`, computed again, number by number, by the rule that `derive` shows.

    Returns:
        float64 of the recorded shape.

    Raises:
        OpenbookError, LookupError: as `derive`.
    """
    ruled = _RuledRecord.of(model, trace, path)
    shape = ruled.recorded.shape
    indices = torch.cartesian_prod(*(torch.arange(length) for length in shape)).reshape(-1, len(shape))
    read = ruled.reader({}, keep=False)
    starts = range(0, len(indices), CHUNK_ROWS)
    values = [ruled.evaluate(read, indices[start : start + CHUNK_ROWS]).value for start in starts]
    return torch.cat(values).reshape(shape)


def relative_errors(model: nn.Module, trace: Trace) -> dict[str, float]:
    """For every recorded tensor its largest error against `recompute`, relative to its largest number."""
    errors = {}
    for path, record in trace.items():
        recorded, recomputed = record.value.to("cpu", torch.float64), recompute(model, trace, path)
        alike = (recorded == recomputed) | (recorded.isnan() & recomputed.isnan())
        difference = torch.where(alike, 0.0, (recorded - recomputed).abs())
        errors[path] = difference.max().item() / _largest(recorded)
    return errors


class _RuledRecord(NamedTuple):
    """A recorded tensor, the rule that it follows and the letters of its index."""

    model: nn.Module
    trace: Trace
    record: Record
    found: FoundRule
    letters: tuple[str, ...]

    @classmethod
    def of(cls, model: nn.Module, trace: Trace, path: str) -> "_RuledRecord":
        if path not in trace:
            near = ", ".join(trace.nearest(path))
            raise OpenbookError(f'nothing is recorded under "{path}"; the nearest are: {near}')
        record = trace[path]
        found = find_rule(model, record.module, record.name)
        if found is None:
            part = type(model.get_submodule(record.module)).__name__
            raise LookupError(f'no rule in openbook.explanation.rules says how "{record.name}" of {part} follows')
        return cls(model, trace, record, found, found.rule.letters_of(record.value.shape))

    @property
    def recorded(self) -> Tensor:
        return self.record.value

    def reader(self, offsets: Mapping[str, TensorOffset], keep: bool) -> Reader:
        found, record = self.found, self.record
        return Reader(self.model, self.trace, found.part, found.path, record.module, record.name, offsets, keep)

    def left(self) -> Node:
        """The left side of the equation: the quantity's name with its letters."""
        letters = tuple(Node("name", name=name) for name in map(_shown, self.letters) if name)
        return Node("name", letters, self.record.name)

    def evaluate(self, read: Reader, rows: Tensor) -> Expression:
        """The rule at the indices `rows` (n, rank); its value is (n, 1)."""
        columns = rows.to(torch.float64)[:, :, None].unbind(1)
        index = [
            named(column, _shown(name), place=Place("axis", str(axis)))
            for axis, (name, column) in enumerate(zip(self.letters, columns, strict=True))
        ]
        result = self.found.rule.formula(read, *index)
        return Expression(result.value.expand(len(rows), 1), result.node)


def _shown(letter: str) -> str:
    """The letter, or nothing for one that formulas leave out."""
    return "" if letter in ("b", "_") else letter


def _largest(recorded: Tensor) -> float:
    numbers = recorded.detach() if recorded.is_floating_point() else recorded.to(torch.float64)
    largest = max(abs(numbers.amin().item()), abs(numbers.amax().item()))
    if not math.isfinite(largest):  # masked scores; a second look at those that are finite
        finite = numbers[numbers.isfinite()].abs()
        largest = finite.max().item() if finite.numel() else 0.0
    return largest or 1.0


def _check(path: str, index: Sequence[int], shape: torch.Size) -> None:
    ranges = ", ".join(f"0–{length - 1}" for length in shape)
    if len(index) != len(shape) or any(not 0 <= at < length for at, length in zip(index, shape, strict=True)):
        given = ",".join(map(str, index))
        raise OpenbookError(f"{path}[{given}]: the index takes {len(shape)} numbers in the ranges {ranges}")
