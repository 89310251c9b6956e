"""Options of `openbook train` made from the fields of `Recipe`, so that each choice is described in one place."""

import inspect
from collections.abc import Callable
from types import NoneType, UnionType
from typing import Annotated, Any, Optional, Union, get_args, get_origin, get_type_hints

import typer

from openbook.training.recipe import Recipe

PANELS = {
    "minutes": "Choices: budget (all choices are picked for you where you do not give them)",
    "tokenizer": "Choices: tokens",
    "layers": "Choices: model",
    "optimizer": "Choices: learning",
}
"""The field with which each group of options begins."""


def add_recipe_options(command: Callable[..., None]) -> None:
    """Give a command, in place of its `**choices`, an option for every field of `Recipe`; once is enough."""
    signature = inspect.signature(command)
    if all(each.kind is not inspect.Parameter.VAR_KEYWORD for each in signature.parameters.values()):
        return
    own = [each for each in signature.parameters.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
    panel, added = "", []
    for name, hint in get_type_hints(Recipe, include_extras=True).items():
        panel = PANELS.get(name, panel)
        added.append(_option(name, hint, panel))
    command.__signature__ = signature.replace(parameters=own + added)  # type: ignore[attr-defined]
    command.__annotations__ |= {each.name: each.annotation for each in added}
    command.__annotations__.pop("choices", None)


def _option(name: str, hint: Any, panel: str) -> inspect.Parameter:
    described = next(each.description for each in hint.__metadata__ if getattr(each, "description", None))
    kind = _plain(hint)
    details: dict[str, Any] = {"help": described, "rich_help_panel": panel, "show_default": False}
    flag = f"--{name.replace('_', '-')}"
    names = (f"{flag}/--no-{flag[2:]}",) if kind is bool else (flag,)
    annotation: Any = Annotated[Optional[kind], typer.Option(*names, **details)]  # noqa: UP045
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _plain(hint: Any) -> Any:
    """The type alone: without what pydantic is told of it, and without None."""
    while get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    if get_origin(hint) in (UnionType, Union):
        return _plain(next(each for each in get_args(hint) if each is not NoneType))
    if get_origin(hint) is tuple:
        return tuple[tuple(_plain(each) for each in get_args(hint))]  # type: ignore[misc]
    return hint
