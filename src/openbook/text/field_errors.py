"""What is wrong with a field that pydantic refuses, in our words: what it takes, or the nearest name that exists."""

import dataclasses
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from types import NoneType, UnionType
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Literal,
    NamedTuple,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from openbook.text.printable import excerpt

if TYPE_CHECKING:
    from pydantic import ValidationError

LIMITS = ("gt", "ge", "lt", "le", "min_length", "max_length")
PLAIN: Mapping[Any, str] = {bool: "true or false", str: "a text"}


class FieldError(NamedTuple):
    """A field and what is wrong with it."""

    place: tuple[int | str, ...]
    """Names and indices that lead to the field; empty where several do not go together."""
    problem: str

    @property
    def path(self) -> str:
        """The place, as in `decoder.blocks.0.attention`, safe to show."""
        return excerpt(".".join(map(str, self.place)), 200)


def field_errors(error: "ValidationError", kind: Any) -> list[FieldError]:
    """All that pydantic found.

    Args:
        error: what it raised.
        kind: the dataclass or typed dictionary that it validated.
    """
    details = error.errors(include_url=False, include_input=False)
    return [FieldError(each["loc"], _problem(each, kind)) for each in details]


def nearest(name: str, known: Sequence[str]) -> str:
    """`; did you mean layers?` for what is nearly a known name, else the names there are."""
    near = get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]}?" if near else f"; there are {', '.join(known)}"


def wanted(hint: Any) -> str:
    """What a field of this type takes: `a whole number from 1 to 1,024`."""
    limits: dict[str, Any] = {}
    while get_origin(hint) in (Annotated, Union, UnionType):
        if get_origin(hint) is not Annotated:
            hint = next(each for each in get_args(hint) if each is not NoneType)
            continue
        hint, *notes = get_args(hint)
        for each in (each for note in notes for each in getattr(note, "metadata", ())):
            limits |= {name: getattr(each, name) for name in LIMITS if hasattr(each, name)}
    if get_origin(hint) is Literal:
        return f"one of {', '.join(map(str, get_args(hint)))}"
    if hint in (int, float):
        return f"a {'whole ' if hint is int else ''}number{_range(limits)}"
    if get_origin(hint) in (tuple, list):
        return _several(get_args(hint), limits)
    return PLAIN.get(hint, "an object")


def _range(limits: Mapping[str, Any]) -> str:
    """` from 1 to 1,024`, or ` above 0, at most 100`."""
    shown = {name: f"{value:,}" if isinstance(value, int) else f"{value:g}" for name, value in limits.items()}
    if "ge" in shown and "le" in shown:
        return f" from {shown['ge']} to {shown['le']}"
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    return " " + ", ".join(f"{word} {shown[name]}" for name, word in words.items() if name in shown) if shown else ""


def _several(parts: tuple[Any, ...], limits: Mapping[str, Any]) -> str:
    if Ellipsis in parts or len(parts) == 1:
        least, most = limits.get("min_length", 0), limits.get("max_length")
        return f"a list of {least or 0}{f' to {most:,}' if most else ' or more'}, each {wanted(parts[0])}"
    return f"{len(parts)} values, each {wanted(parts[0])}"


def _problem(detail: Any, kind: Any) -> str:
    fault, place = detail["type"], detail["loc"]
    if fault in ("value_error", "assertion_error"):
        return str(detail["ctx"]["error"])
    if fault == "missing":
        return "is missing"
    if fault in ("unexpected_keyword_argument", "extra_forbidden"):
        owner = _hint_at(kind, place[:-1])
        return f"is not known{nearest(str(place[-1]), list(_fields(bare(owner)) or ()))}"
    hint = _hint_at(kind, place)
    return f"give {wanted(hint)}" if hint is not None else "is not of a type that fits"


def _fields(hint: Any) -> Mapping[str, Any] | None:
    """The fields of a dataclass or typed dictionary, with their types."""
    is_dictionary = isinstance(hint, type) and hasattr(hint, "__total__")  # of typing or typing_extensions
    return get_type_hints(hint, include_extras=True) if dataclasses.is_dataclass(hint) or is_dictionary else None


def _hint_at(kind: Any, place: Sequence[int | str]) -> Any:
    """The type of what is at a place; None where the types do not lead there."""
    hint: Any = kind
    for part in place:
        fields = _fields(bare(hint))
        if fields is not None and part in fields:
            hint = fields[str(part)]
            continue
        parts = [each for each in get_args(bare(hint)) if each is not Ellipsis]
        if not isinstance(part, int) or not parts:
            return None
        hint = parts[min(part, len(parts) - 1)]
    return hint


def bare(hint: Any) -> Any:
    """A type without annotations and without None."""
    while get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    if get_origin(hint) in (UnionType, Union):
        return bare(next(each for each in get_args(hint) if each is not NoneType))
    return hint
