"""The served models as Anthropic's clients list them; the header `anthropic-version` tells them from OpenAI's."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from openbook.web.serve.errors import bad_request
from openbook.web.serve.registry import Entry

PAGE = 20


def model_info(entry: Entry) -> dict[str, Any]:
    """One model."""
    made = datetime.fromtimestamp(entry.modified, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return {"type": "model", "id": entry.id, "display_name": entry.id, "created_at": made}


def models_page(
    entries: Sequence[Entry], before_id: str | None = None, after_id: str | None = None, limit: int = PAGE
) -> dict[str, Any]:
    """A page of the list of models.

    Args:
        entries: all models, in order.
        before_id, after_id: the model before or after which the page ends or begins.
        limit: most models of a page, from 1 to 1000.

    Raises:
        ApiError: there is no such model, or a number is out of range.
    """
    if not 1 <= limit <= 1000:
        raise bad_request("limit: give a whole number from 1 to 1000", "limit")
    names = [entry.id for entry in entries]
    first, end = 0, len(entries)
    if after_id is not None:
        first = _index(names, after_id, "after_id") + 1
    if before_id is not None:
        end = _index(names, before_id, "before_id")
        first = max(first, end - limit) if after_id is None else first
    shown = entries[first:end][:limit]
    left = end - first > limit if before_id is None else first > 0
    ends = {"first_id": shown[0].id if shown else None, "last_id": shown[-1].id if shown else None}
    return {"data": [model_info(entry) for entry in shown], "has_more": left, **ends}


def _index(names: Sequence[str], name: str, field: str) -> int:
    if name not in names:
        raise bad_request(f"{field}: there is no model {name[:100]!r}; there are {', '.join(names)}", field)
    return names.index(name)
