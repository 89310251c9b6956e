"""The table of rules: for a part's class and the name of a note, how the number follows from its operands.

A rule is a function of a `Reader` and the letters of one index. Its first line of documentation says to a newcomer
what the number means; its arithmetic is the formula.
"""

import inspect
from collections.abc import Callable, Sequence
from typing import NamedTuple

from torch import nn

from openbook.explanation.expression import Expression

Rule = Callable[..., Expression]
_rules: dict[tuple[type[nn.Module], str], Rule] = {}


class FoundRule(NamedTuple):
    """A rule, and the part it belongs to with its path."""

    rule: Rule
    part: nn.Module
    path: str


def rule(part: type[nn.Module], *names: str) -> Callable[[Rule], Rule]:
    """Enter a rule for these notes of a class of parts; subclasses inherit it."""

    def enter(function: Rule) -> Rule:
        for name in names:
            _rules[part, name] = function
        return function

    return enter


def rule_of(kind: type[nn.Module], name: str) -> Rule | None:
    """The rule for the note `name` of a class of parts, its own or inherited."""
    return next((_rules[each, name] for each in kind.__mro__ if (each, name) in _rules), None)


def find_rule(model: nn.Module, module: str, name: str) -> FoundRule | None:
    """The rule for the note `name` of the module at this path.

    A part whose method was called without calling the part itself notes under its caller, so children are asked too.
    """
    part = model.get_submodule(module)
    children = ((f"{module}.{name}" if module else name, child) for name, child in part.named_children())
    for path, each in ((module, part), *children):
        if found := rule_of(type(each), name):
            return FoundRule(found, each, path)
    return None


def letters(found: Rule, shape: Sequence[int]) -> tuple[str, ...]:
    """The letters of an index into a value of this shape: the rule's parameters, or b, t, h, d where it takes any.

    `b`, the row of the batch, and `_`, an axis of length 1, are left out of formulas.
    """
    names = list(inspect.signature(found).parameters.values())[1:]
    if names and names[0].kind is inspect.Parameter.VAR_POSITIONAL:
        return (*("b", "t", "h")[: len(shape) - 1], "d" if shape[-1] > 1 else "_")
    return tuple(each.name for each in names)
