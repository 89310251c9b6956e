"""What is wrong with a field, in our words."""

from dataclasses import field
from typing import Annotated, Any, Literal

import pytest
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from openbook.text.field_errors import field_errors, nearest, wanted


@pytest.mark.parametrize(
    ("hint", "words"),
    [
        (Annotated[int, Field(ge=1, le=4096)], "a whole number from 1 to 4,096"),
        (Annotated[float | None, Field(gt=0, le=1e9)], "a number above 0, at most 1e+09"),
        (Annotated[float, Field(ge=0, lt=1)] | None, "a number at least 0, below 1"),
        (Annotated[int, "described", Field(ge=2)], "a whole number at least 2"),
        (float, "a number"),
        (bool, "true or false"),
        (str, "a text"),
        (Literal["rms", "layer"], "one of rms, layer"),
        (tuple[float, float], "2 values, each a number"),
        (Annotated[list[str], Field(max_length=100)], "a list of 0 to 100, each a text"),
    ],
)
def test_what_a_type_takes(hint: Any, words: str) -> None:
    assert wanted(hint) == words


def test_the_nearest_name() -> None:
    assert nearest("layrs", ["layers", "width"]) == "; did you mean layers?"
    assert nearest("colour", ["layers", "width"]) == "; there are layers, width"


@dataclass(config=ConfigDict(extra="forbid"))
class Part:
    width: Annotated[int, Field(ge=1)]

    def __post_init__(self) -> None:
        if self.width == 13:
            raise ValueError("not 13")


@dataclass(config=ConfigDict(extra="forbid"))
class Whole:
    parts: tuple[Part, ...] = field(default=())
    spare: Part | None = None


@pytest.mark.parametrize(
    ("value", "path", "problem"),
    [
        ({"parts": [{"width": 1}, {"width": 0}]}, "parts.1.width", "give a whole number at least 1"),
        ({"parts": [{"width": "wide"}]}, "parts.0.width", "give a whole number at least 1"),
        ({"spare": {"width": 13}}, "spare", "not 13"),
        ({"spare": {}}, "spare.width", "is missing"),
        ({"spare": {"width": 1, "widht": 2}}, "spare.widht", "is not known; did you mean width?"),
        ({"spare": 3}, "spare", "give an object"),
        ({"part": []}, "part", "is not known; did you mean parts?"),
    ],
)
def test_the_first_fault_is_named_with_its_place(value: Any, path: str, problem: str) -> None:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(Whole).validate_python(value)
    first = field_errors(caught.value, Whole)[0]
    assert (first.path, first.problem) == (path, problem)
