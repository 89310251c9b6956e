"""How one number of a recorded quantity follows from its operands, and whether it really does.

    derivation = derive(model, recorded, "decoder.blocks.0.self_attention.scores", (0, 1, 5, 2))
    derivation.formula     # scores[h,t,s] = scale · Σ_k query[t,h,k] · key[h,s,k]
    derivation.with_numbers            # 0.25 · 3.1
    derivation.steps()     # the recorded numbers it follows from, each with a derivation of its own

Every formula is computed in float64 from recorded numbers, weights and constants of the architecture.
"""

import difflib
import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from openbook.errors import OpenbookError
from openbook.explanation.expression import Expression, named
from openbook.explanation.reader import Operand, Reader, Sum, TensorPlace
from openbook.explanation.rules.table import FoundRule, find_rule, letters
from openbook.trace import Record, Trace

ROWS_AT_ONCE = 512
"""Numbers that `recompute` works out together: enough to be quick, few enough for sums over a large vocabulary."""


@dataclass(frozen=True)
class Derivation:
    """One number, and how it follows.

    `letters` says which number: {"t": 5, "s": 2}. `definitions` are short names inside the formula, each with what
    it stands for and the same in numbers. `recomputed` is worked out from the operands in float64, `recorded` is what
    the model computed, `error` how far the two are apart; `relative_error` is measured against the largest number of
    the quantity, for a sum whose terms cancel has no small error of its own.
    """

    path: str
    index: tuple[int, ...]
    letters: Mapping[str, int]
    meaning: str
    formula: str
    with_numbers: str
    definitions: tuple[tuple[str, str, str], ...]
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
    places: Mapping[str, TensorPlace] | None = None,
) -> Derivation:
    """How the number at `index` of the quantity recorded at `path` follows.

    Args:
        model: the model that was traced, with the weights it had then.
        trace: what was recorded.
        path: a recorded path, as "decoder.blocks.0.self_attention.scores".
        index: one whole number for each axis.
        places: where each tensor lies in the model file, for the byte offsets of weights.

    Raises:
        OpenbookError: nothing is recorded at `path`, or `index` is out of range; names what is there.
        LookupError: no rule says how the quantity follows, a defect of this package.
    """
    quantity = _Quantity.of(model, trace, path)
    recorded = quantity.recorded
    _check(path, index, recorded.shape)
    read = quantity.reader(places or {}, keep=True)
    result = quantity.evaluate(read, torch.tensor([list(index)]))
    shown = ",".join(name for name in map(_shown, quantity.letters) if name)
    was, now = float(recorded[tuple(index)]), result.value.item()
    error = abs(now - was) if now != was else 0.0  # two infinities have no difference
    return Derivation(
        path=path,
        index=tuple(index),
        letters={name: place for name, place in zip(quantity.letters, index, strict=True) if name != "_"},
        meaning=inspect.cleandoc(quantity.found.rule.__doc__ or ""),
        formula=f"{read.name}[{shown}] = {result.symbols}" if shown else f"{read.name} = {result.symbols}",
        with_numbers=result.numbers,
        definitions=tuple(read.definitions),
        operands=tuple(read.operands),
        sums=tuple(read.sums),
        recomputed=now,
        recorded=was,
        error=error,
        relative_error=error / _largest(recorded),
    )


def axes(model: nn.Module, trace: Trace, path: str) -> tuple[str, ...]:
    """The letter of each axis of the quantity recorded at `path`; "_" for an axis of length 1."""
    return _Quantity.of(model, trace, path).letters


def recompute(model: nn.Module, trace: Trace, path: str) -> Tensor:
    """The whole quantity recorded at `path` worked out again, number by number, by the rule that `derive` shows.

    Returns:
        float64 of the recorded shape.

    Raises:
        OpenbookError, LookupError: as `derive`.
    """
    quantity = _Quantity.of(model, trace, path)
    shape = quantity.recorded.shape
    every = torch.cartesian_prod(*(torch.arange(length) for length in shape)).reshape(-1, len(shape))
    read = quantity.reader({}, keep=False)
    starts = range(0, len(every), ROWS_AT_ONCE)
    values = [quantity.evaluate(read, every[start : start + ROWS_AT_ONCE]).value for start in starts]
    return torch.cat(values).reshape(shape)


def relative_errors(model: nn.Module, trace: Trace) -> dict[str, float]:
    """For every recorded quantity its greatest error against `recompute`, relative to its largest number."""
    errors = {}
    for path, record in trace.items():
        recorded, recomputed = record.value.to("cpu", torch.float64), recompute(model, trace, path)
        apart = torch.where(recorded == recomputed, 0.0, (recorded - recomputed).abs())
        errors[path] = apart.max().item() / _largest(recorded)
    return errors


class _Quantity(NamedTuple):
    """A recorded value, the rule it follows and the letters of its index."""

    model: nn.Module
    trace: Trace
    record: Record
    found: FoundRule
    letters: tuple[str, ...]

    @classmethod
    def of(cls, model: nn.Module, trace: Trace, path: str) -> "_Quantity":
        if path not in trace:
            near = difflib.get_close_matches(path, list(trace), n=3, cutoff=0.0)
            raise OpenbookError(f'nothing is recorded under "{path}"; the nearest are: {", ".join(near)}')
        record = trace[path]
        found = find_rule(model, record.module, record.name)
        if found is None:
            part = type(model.get_submodule(record.module)).__name__
            raise LookupError(f'no rule in openbook.explanation.rules says how "{record.name}" of {part} follows')
        return cls(model, trace, record, found, letters(found.rule, record.value.shape))

    @property
    def recorded(self) -> Tensor:
        return self.record.value

    def reader(self, places: Mapping[str, TensorPlace], keep: bool) -> Reader:
        found, record = self.found, self.record
        return Reader(self.model, self.trace, found.part, found.path, record.module, record.name, places, keep)

    def evaluate(self, read: Reader, rows: Tensor) -> Expression:
        """The rule at the indices `rows` (n, rank); its value is (n, 1)."""
        columns = rows.to(torch.float64)[:, :, None].unbind(1)
        index = [named(column, _shown(name)) for name, column in zip(self.letters, columns, strict=True)]
        result = self.found.rule(read, *index)
        return replace(result, value=result.value.expand(len(rows), 1))


def _shown(letter: str) -> str:
    return "" if letter in ("b", "_") else letter


def _largest(recorded: Tensor) -> float:
    numbers = recorded.to(torch.float64).abs()
    return numbers[numbers.isfinite()].max().item() or 1.0


def _check(path: str, index: Sequence[int], shape: torch.Size) -> None:
    ranges = ", ".join(f"0–{length - 1}" for length in shape)
    if len(index) != len(shape) or any(not 0 <= place < length for place, length in zip(index, shape, strict=True)):
        given = ",".join(map(str, index))
        raise OpenbookError(f"{path}[{given}]: the index takes {len(shape)} numbers in the ranges {ranges}")
