"""One number and how it follows, as JSON: the largest terms of a long sum first, the rest on demand."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from openbook.errors import OpenbookError
from openbook.explanation.derivations import Derivation, axes, derive
from openbook.explanation.expression import Node, with_numbers
from openbook.explanation.expression_mathml import format_mathml
from openbook.explanation.expression_text import format_formula
from openbook.explanation.model_source import ModelSource
from openbook.explanation.page.slices import recorded_tensor
from openbook.explanation.reader import Number, Operand
from openbook.explanation.traced_generation import TracedRun

TERMS_SHOWN = 16


def derivation_data(
    run: TracedRun, model: ModelSource, step: int, path: str, index: Sequence[int], terms: int | None = TERMS_SHOWN
) -> dict[str, Any]:
    """The derivation of one number.

    Args:
        run: whose number it is.
        model: knows the bytes of weights.
        step, path, index: which number.
        terms: how many terms of each sum; None for all.

    Raises:
        OpenbookError: there is no such number.
    """
    recorded_tensor(run, step, path)
    recorded = run.trace(step)
    found = derive(run.model, recorded, path, index, model.offsets)
    order = _order(found, terms)
    left, right = found.equation
    return {
        "step": step,
        "path": path,
        "index": list(index),
        "axes": list(axes(run.model, recorded, path)),
        "letters": dict(found.letters),
        "meaning": found.meaning,
        "formula": written(left, right),
        "numbers": written(with_numbers(right)),
        "definitions": [
            {
                "name": each.name,
                "formula": written(Node("name", name=each.name), each.tree),
                "numbers": written(with_numbers(each.tree)),
                "value": each.tree.value,
            }
            for each in found.definitions
        ],
        "operands": [_operand(run, step, path, each, order) for each in found.operands],
        "sums": [_sum(each.letter, each.symbols, each.terms, each.total, terms) for each in found.sums],
        "recomputed": found.recomputed,
        "recorded": found.recorded,
        "error": found.error,
        "relative_error": found.relative_error,
    }


def written(*sides: Node) -> dict[str, str]:
    """A formula as text and as MathML."""
    return {"text": format_formula(*sides), "mathml": format_mathml(*sides)}


def _order(found: Derivation, terms: int | None) -> dict[int, list[int]]:
    """For each number of terms that a sum has, which of them are shown: the largest of the first such sum first."""
    order: dict[int, list[int]] = {}
    for each in found.sums:
        order.setdefault(len(each.terms), largest(each.terms, terms))
    return order


def largest(values: Sequence[float], count: int | None) -> list[int]:
    """Where the largest values are, by their size; those that are not finite first."""
    sizes = np.nan_to_num(np.abs(np.array(values, dtype=np.float64)), nan=np.inf)
    order: list[int] = np.argsort(-sizes, kind="stable")[:count].tolist()
    return order


def _sum(letter: str, symbols: str, terms: Sequence[float], total: float, count: int | None) -> dict[str, Any]:
    shown = largest(terms, count)
    kept = set(shown)
    return {
        "letter": letter,
        "symbols": symbols,
        "total": total,
        "count": len(terms),
        "terms": [{"at": at, "value": terms[at]} for at in shown],
        "left_out": len(terms) - len(shown),
        "rest": sum(value for at, value in enumerate(terms) if at not in kept),
    }


def _operand(run: TracedRun, step: int, path: str, operand: Operand, order: dict[int, list[int]]) -> dict[str, Any]:
    count = len(operand.numbers)
    shown = [0] if count == 1 else order.get(count, list(range(min(count, TERMS_SHOWN))))
    data: dict[str, Any] = {
        "symbols": operand.symbols,
        "name": operand.symbols.partition("[")[0],
        "kind": operand.kind,
        "source": operand.source,
        "step": step,
        "count": count,
        "left_out": count - len(shown),
        "numbers": [_number(operand.numbers[at], at if count > 1 else None) for at in shown],
    }
    if operand.kind == "given" and path.endswith((".keys", ".values")):
        data |= {"kind": "cache", "source": path, "step": _kept_in(run, path, operand.numbers[0].index[2])}
    return data


def _kept_in(run: TracedRun, path: str, s: int) -> int:
    """The step that computed what the cache kept of the token s."""
    return 0 if ".cross_attention." in path else run.step_of(s)


def _number(number: Number, at: int | None) -> dict[str, Any]:
    return {"at": at, "value": number.value, "index": list(number.index), "byte": number.byte}


def parse_terms(text: str) -> int | None:
    """How many terms: a number or "all".

    Raises:
        OpenbookError: it is neither.
    """
    if text == "all":
        return None
    if not text.isascii() or not text.isdigit():
        raise OpenbookError('terms: give a number or "all"')
    return int(text[:9])
