"""JSON as it goes out: UTF-8, compact, never NaN."""

import json
import math
from typing import Any

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


def to_json(value: Any) -> bytes:
    """`value` as JSON; what is not finite is null, half a surrogate pair a question mark."""
    try:
        text = _encode(value)
    except ValueError:
        text = _encode(_finite(value))
    return text.encode("utf-8", "replace")


def json_line(value: Any) -> bytes:
    """`value` as one line of JSON lines."""
    return to_json(value) + b"\n"


def sse(value: Any, event: str | None = None) -> bytes:
    """`value` as a server-sent event."""
    head = b"" if event is None else f"event: {event}\n".encode()
    return b"%bdata: %b\n\n" % (head, to_json(value))


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    return [_finite(each) for each in value] if isinstance(value, list | tuple) else value
