"""The terms of the field, one plain sentence each: for the page, the terminal and the documentation.

They stand in `glossary.toml`.
"""

import tomllib
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FILE = Path(__file__).with_name("glossary.toml")


@dataclass(frozen=True)
class Term:
    """A term of the field.

    Attributes:
        title: the term itself.
        sentence: what it is, in one plain sentence.
        formula: as text; None where it has none.
        where: names of the recorded quantities in which it shows.
        always: whether it is for every model, whatever it records.
        see: other terms.
    """

    title: str
    sentence: str
    formula: str | None = None
    where: tuple[str, ...] = ()
    always: bool = False
    see: tuple[str, ...] = ()


@cache
def all_terms() -> dict[str, Term]:
    """Every term by its title."""
    content = tomllib.loads(FILE.read_text(encoding="utf-8"))
    return {
        title: Term(
            title,
            entry["sentence"],
            entry.get("formula"),
            tuple(entry.get("where", ())),
            entry.get("always", False),
            tuple(entry.get("see", ())),
        )
        for title, entry in content.items()
    }


def terms_for(recorded: Collection[str], without: Collection[str] = ()) -> dict[str, Term]:
    """The terms for a model that records quantities of these names, except those in `without`."""
    return {
        title: term
        for title, term in all_terms().items()
        if title not in without and (term.always or not term.where or any(name in recorded for name in term.where))
    }
