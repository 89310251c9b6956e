"""The terms of the field, one plain sentence each: for the page, the terminal and the docs."""

from typing import Any


def glossary() -> dict[str, Any]:
    """The terms by their keys."""
    return {}
