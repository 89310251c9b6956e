"""Options of `openbook train`, one for each field of `Recipe`, so that each is described in one place."""

import inspect
from collections.abc import Callable
from types import NoneType, UnionType
from typing import Annotated, Any, Optional, Union, get_args, get_origin, get_type_hints

import typer

from openbook.training.recipe import FIELDS, PAIR_DEFAULTS, PLANNED, Recipe

PANELS = {
    "minutes": "Budget",
    "tokenizer": "Tokenizer",
    "encoder_layers": "Model",
    "label_smoothing": "Training",
}
"""The field with which each group of options begins."""


def add_recipe_options(command: Callable[..., None]) -> None:
    """Replace the `**choices` of a command by an option for every field of `Recipe`; a second call does nothing."""
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
    description = next(each.description for each in hint.__metadata__ if getattr(each, "description", None))
    kind = _plain(hint)
    flag = f"--{name.replace('_', '-')}"
    names = (f"{flag}/--no-{flag[2:]}",) if kind is bool else (flag,)
    details: dict[str, Any] = {
        "help": f"{description} (default: {_default(name)})",
        "rich_help_panel": panel,
        "show_default": False,
    }
    annotation: Any = Annotated[Optional[kind], typer.Option(*names, **details)]  # noqa: UP045
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _default(name: str) -> str:
    """What a field is if it is not given, as the help says it."""
    if name in PLANNED:
        return "planned"
    default, for_pairs = FIELDS[name].default, PAIR_DEFAULTS.get(name, FIELDS[name].default)
    return _shown(default) if default == for_pairs else f"{_shown(default)}; pairs: {_shown(for_pairs)}"


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    return "none" if value is None else str(value)


def _plain(hint: Any) -> Any:
    """The type alone, without pydantic's annotations and without None."""
    while get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    if get_origin(hint) in (UnionType, Union):
        return _plain(next(each for each in get_args(hint) if each is not NoneType))
    if get_origin(hint) is tuple:
        return tuple[tuple(_plain(each) for each in get_args(hint))]  # type: ignore[misc]
    return hint
