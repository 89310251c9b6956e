"""The table of rules: for a part's class and the name of a note, how its numbers follow from their operands.

A rule is a function of a `Reader` and the letters of one index:

    @rule(Attention, "scores")
    def scores(read: Reader, b: Expression, h: Expression, t: Expression, s: Expression) -> Expression:
        \"\"\"How well the query of token t matches the key of token s.\"\"\"
        ...

Its arithmetic is the formula, and the first line of its docstring tells a newcomer what the number means.
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch import nn

from openbook.explanation.expression import Expression
from openbook.explanation.reader import Reader

Formula = Callable[..., Expression]


@dataclass(frozen=True)
class Rule:
    """How the numbers of one note follow.

    `letters` are those of its index; None where the rule takes an index of any length.
    """

    formula: Formula
    meaning: str
    letters: tuple[str, ...] | None

    def letters_of(self, shape: Sequence[int]) -> tuple[str, ...]:
        """A letter for each axis of a value of this shape.

        Formulas leave out `b`, the row of the batch, and `_`, an axis of length 1.
        """
        if self.letters is not None:
            return self.letters
        return (*("b", "t", "h")[: len(shape) - 1], "d" if shape[-1] > 1 else "_")


class FoundRule(NamedTuple):
    """A rule, and the part that it belongs to, with its path."""

    rule: Rule
    part: nn.Module
    path: str


_rules: dict[tuple[type[nn.Module], str], Rule] = {}


def rule(part: type[nn.Module], name: str) -> Callable[[Formula], Formula]:
    """Enter a rule for this note of a class of parts; subclasses inherit it."""

    def enter(formula: Formula) -> Formula:
        first, *others = list(inspect.signature(formula).parameters.values())[1:]
        any_length = first.kind is inspect.Parameter.VAR_POSITIONAL
        letters = None if any_length else (first.name, *(each.name for each in others))
        _rules[part, name] = Rule(formula, inspect.cleandoc(formula.__doc__ or ""), letters)
        return formula

    return enter


def given_rule(part: type[nn.Module], name: str, letters: str, source: str, meaning: str) -> None:
    """Enter a rule for a note that nothing in a pass explains: it is given by `source`. `letters`: "bt" for (b, t)."""

    def formula(read: Reader, *index: Expression) -> Expression:
        return read.given(name, source, *index)

    _rules[part, name] = Rule(formula, meaning, tuple(letters))


def rule_of(kind: type[nn.Module], name: str) -> Rule | None:
    """The rule for the note `name` of a class of parts, its own or inherited."""
    return next((_rules[each, name] for each in kind.__mro__ if (each, name) in _rules), None)


def find_rule(model: nn.Module, module: str, name: str) -> FoundRule | None:
    """The rule for the note `name` of the module at this path.

    A method that is called without its part being called notes under the calling module, so its children are tried too.
    """
    part = model.get_submodule(module)
    children = ((f"{module}.{name}" if module else name, child) for name, child in part.named_children())
    for path, each in ((module, part), *children):
        if found := rule_of(type(each), name):
            return FoundRule(found, each, path)
    return None
