"""The chat template of a folder, in any of the places where it may stand."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from openbook.errors import OpenbookError
from openbook.interop.tokenizers.files import read_optional, read_text

LONGEST_TEMPLATE = 1_000_000
"""Characters; as many as a model file keeps."""


def read_template(folder: Path, configuration: Mapping[str, Any]) -> str | None:
    """The chat template: from chat_template.jinja, chat_template.json or tokenizer_config.json, in this order.

    Of several under names, the one called default. Raises OpenbookError where it is no text or too long.
    """
    place, template = folder / "chat_template.jinja", None
    if place.exists():
        template = read_text(place, 4 * LONGEST_TEMPLATE)
    else:
        place = folder / "chat_template.json"
        template = read_optional(place, 4 * LONGEST_TEMPLATE).get("chat_template")
        if template is None:
            place, template = folder / "tokenizer_config.json", configuration.get("chat_template")
    if isinstance(template, list):
        named = {each.get("name"): each.get("template") for each in template if isinstance(each, dict)}
        template = named.get("default")
    if template is not None and (not isinstance(template, str) or len(template) > LONGEST_TEMPLATE):
        raise OpenbookError(f"{place}: its chat template is no text of at most {LONGEST_TEMPLATE:,} characters")
    return template or None
