"""Finds the chat template of a folder, wherever it stands."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from openbook.errors import OpenbookError
from openbook.interop.tokenizers.bounded_files import read_optional, read_text
from openbook.text.chat.template import ChatTemplate
from openbook.text.printable import excerpt

MAXIMUM_TEMPLATE = 1_000_000
"""Characters; the most that a model file keeps."""


def read_chat_template(folder: Path, tokenizer_config: Mapping[str, Any]) -> tuple[str | None, list[str]]:
    """The chat template: from chat_template.jinja, chat_template.json or tokenizer_config.json, in this order.

    Of several named templates, the one called default; the others are named in the notes that come with it, as is one
    that cannot be compiled.

    Raises:
        OpenbookError: the template is not text or too long.
    """
    path, template = folder / "chat_template.jinja", None
    left_out = sorted(each.stem for each in (folder / "additional_chat_templates").glob("*.jinja"))
    if path.exists():
        template = read_text(path, 4 * MAXIMUM_TEMPLATE)
    else:
        path = folder / "chat_template.json"
        template = read_optional(path, 4 * MAXIMUM_TEMPLATE).get("chat_template")
        if template is None:
            path, template = folder / "tokenizer_config.json", tokenizer_config.get("chat_template")
    if isinstance(template, list):
        named = {each.get("name"): each.get("template") for each in template if isinstance(each, dict)}
        template = named.pop("default", None)
        left_out = list(dict.fromkeys([*map(str, named), *left_out]))
    if template is not None and (not isinstance(template, str) or len(template) > MAXIMUM_TEMPLATE):
        raise OpenbookError(f"{path}: its chat template is not text of at most {MAXIMUM_TEMPLATE:,} characters")
    if template and (problem := _problem(template)):
        return None, [f"{path.name}: its chat template {problem}, so none is kept"]
    if not left_out:
        return template or None, []
    names = excerpt(", ".join(left_out))
    if template:
        return template, [f"of its chat templates, the one named default is kept; left out: {names}"]
    missing = f"{path.name}: its chat templates are {names}, and none is named default, so none is kept"
    return None, [f"{missing}; rename one of them to default to keep it"]


def _problem(template: str) -> str | None:
    """Why a template cannot be compiled, or None."""
    compiled = ChatTemplate(template, {})
    try:
        compiled.check()
    except OpenbookError as error:
        return str(error).removesuffix("; answer without it (raw)").removeprefix("the chat template ")
    finally:
        compiled.close()
    return None
