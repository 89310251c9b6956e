"""A step of the outline as data."""

from collections.abc import Iterable, Mapping
from typing import Any


def make_step(
    quantities: Mapping[str, Any],
    name: str,
    title: str,
    paths: Iterable[str],
    sentence: str,
    opened: dict[str, Any],
    terms: tuple[str, ...],
    substeps: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """What goes in, what happens, which weights it uses, what comes out.

    Args:
        quantities: of the step of the run, by path.
        name: by which the step is known.
        title: for people.
        paths: of what the step computes, those that are not recorded left out.
        sentence: what happens here, in plain words.
        opened: the view that shows it, see `opens`.
        terms: of the glossary.
        substeps: smaller steps inside.
    """
    wanted = set(paths)
    own = [path for path in quantities if path in wanted]  # in computed order
    operands = [operand for path in own for operand in quantities[path]["operands"]]
    outside = [each["source"] for each in operands if each["kind"] == "recorded" and each["source"] not in own]
    weights = [each["source"] for each in operands if each["kind"] == "weight"]
    out = own[-1] if own else None
    return {
        "id": name,
        "title": title,
        "note": "" if out is None else _shape(quantities[out]["shape"]),
        "sentence": sentence,
        "in": list(dict.fromkeys(outside)),
        "quantities": own,
        "out": out,
        "weights": list(dict.fromkeys(weights)),
        "terms": list(terms),
        "opens": opened,
        "substeps": substeps or [],
    }


def opens(level: str, **where: Any) -> dict[str, Any]:
    """The view that shows a step: its level, or "panel", and where: stack, layer, head, path."""
    return {"level": level} | {name: each for name, each in where.items() if each is not None}


def _shape(shape: list[int]) -> str:
    """6 × 8, without the row of the batch and axes of length 1."""
    lengths = [f"{length:,}" for length in shape[1:] if length > 1]
    return " × ".join(lengths) or "1"
