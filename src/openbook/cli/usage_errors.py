"""What is wrong with a command line, in one line: Typer's errors, told as ours."""

from difflib import get_close_matches
from typing import Any

import typer

from openbook.text.printable import excerpt

UsageError: Any = typer.BadParameter.__mro__[1]
"""What Typer raises for a command line that it cannot read; it has no public name in all versions."""

WANTED = {
    "int_parsing": "give a whole number",
    "int_parsing_size": "give a smaller number",
    "float_parsing": "give a number",
    "bool_parsing": "give true or false",
}
"""What to give instead, by pydantic's types of error."""


OPTIONS = {"output": "-o", "base_model": "--from", "top_alternatives": "--show-probabilities"}
"""Options that are not named as the settings of the library."""


def option_name(setting: str) -> str:
    """The option for a setting of the library: `--head-width` for `head_width`."""
    return OPTIONS.get(setting, f"--{setting.replace('_', '-')}")


def usage_error_text(error: Any) -> str:
    """The option or argument, what is wrong with it, and the cure, for a `UsageError`."""
    context = error.ctx
    command = "openbook" if context is None else context.command_path
    name = type(error).__name__
    if name == "MissingParameter":
        text = f"{_shown_name(error.param)} is missing"
    elif name == "NoSuchOption":
        known = [] if context is None else [flag for each in context.command.params for flag in each.opts]
        near = error.possibilities or get_close_matches(error.option_name, known, n=1)
        text = f"there is no option {excerpt(error.option_name)}" + (f"; did you mean {near[0]}?" if near else "")
    elif name == "BadParameter" and error.param is not None:
        text = _bad_value(error)
    else:
        message = error.format_message().replace("(s)", "")
        text = message[:1].lower() + message[1:].rstrip(".")
    return f"{text} (see {command} --help)"


def _bad_value(error: Any) -> str:
    """`--temperature warm: give a number`."""
    option, message = _shown_name(error.param), error.message
    details: list[dict[str, Any]] = getattr(error.__cause__, "errors", list)()
    if not details:
        return f"{option}: {message}"
    first = details[0]
    given = excerpt(str(first["input"])) or '""'
    reason = first.get("ctx", {}).get("error") or first["msg"]
    return f"{option} {given}: " + WANTED.get(
        first["type"], str(reason).removeprefix(f"{first['input']!r} ").rstrip(".")
    )


def _shown_name(parameter: Any) -> str:
    """`--steps` for an option, `MODEL` for an argument."""
    if parameter.param_type_name == "option":
        return max(parameter.opts, key=len)
    return str(parameter.metavar or parameter.name).strip(".").upper()
