"""What the Python API takes for texts and paths."""

from pathlib import Path
from typing import Any

import pytest

from openbook.errors import OpenbookError
from openbook.text.arguments import path_argument, paths_argument, text_argument, texts_argument


def test_one_is_taken_for_a_list_of_one() -> None:
    assert texts_argument("text", "prompts") == ["text"]
    assert texts_argument(("a", "b"), "prompts") == ["a", "b"]
    assert paths_argument("a*.txt", "inputs") == ["a*.txt"]
    assert paths_argument(Path("a"), "inputs") == [Path("a")]
    assert paths_argument(["a", Path("b")], "inputs") == ["a", Path("b")]


@pytest.mark.parametrize(
    ("check", "value", "message"),
    [
        (text_argument, b"bytes", "x: bytes is no text; give a str"),
        (text_argument, ["a"], "x: list is no text"),
        (texts_argument, b"bytes", "x: bytes is no text; give a str or a list of them"),
        (texts_argument, None, "x: None is no text"),
        (texts_argument, {"a": 1}, "x: dict is no text"),
        (texts_argument, ["a", 3], r"x\[1\]: int is no text"),
        (path_argument, 3, "x: int is no path; give a str or a Path"),
        (path_argument, b"a", "x: bytes is no path"),
        (paths_argument, 3, "x: int is no path; give a str, a Path or a list of them"),
        (paths_argument, ["a", b"b"], r"x\[1\]: bytes is no path"),
    ],
)
def test_anything_else_is_refused(check: Any, value: Any, message: str) -> None:
    with pytest.raises(OpenbookError, match=f"^{message}"):
        check(value, "x")
