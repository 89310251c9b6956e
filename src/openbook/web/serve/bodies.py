"""The bodies of requests: every field is checked, and one that is not known is refused by name."""

import json
import re
from collections.abc import AsyncIterator
from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator

from openbook.web.serve.errors import ApiError

MANY = 2048
"""Most items of a list in a body."""
LONG = 2**20
"""Most characters of a text in a body."""
MAX_BODY = 2**23
MAX_DISCARDED = 2**26
MAX_DEPTH = 64
MAX_VALUES = 500_000

_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_BRACKET = re.compile(rb"[\[{}\]]")
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


class Body(BaseModel):
    """A body, or an object in one: unknown fields, texts for numbers and numbers that are not finite are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, protected_namespaces=())

    @model_validator(mode="before")
    @classmethod
    def _whole_numbers(cls, fields: Any) -> Any:
        """JSON knows one kind of number: 4.0 is a whole one."""
        if not isinstance(fields, dict):
            return fields
        return {name: _whole(value) for name, value in fields.items()}


async def read_body(chunks: AsyncIterator[bytes]) -> bytes:
    """All of a body.

    Raises:
        ApiError: it is larger than `MAX_BODY`. The rest is read and thrown away, since most clients read no answer
            before they have sent all; but not for ever.
    """
    content, length = bytearray(), 0
    async for chunk in chunks:
        length += len(chunk)
        if length > MAX_DISCARDED:
            break
        if length <= MAX_BODY:
            content += chunk
    if length > MAX_BODY:
        raise ApiError(
            413, f"the request has more than {MAX_BODY:,} bytes; send less at a time", code="request_too_large"
        )
    return bytes(content)


def check_json(content: bytes) -> None:
    """Refuse JSON that would cost more than its length tells, or has text that is no Unicode.

    Raises:
        ApiError: it is nested too deep, has too many values, or half a surrogate pair.
    """
    outside = _STRING.sub(b"", content)
    if outside.count(b",") > MAX_VALUES:
        raise ApiError(400, f"the request has more than {MAX_VALUES:,} values; send fewer at a time")
    depth = 0
    for bracket in _BRACKET.findall(outside):
        depth += 1 if bracket in b"[{" else -1
        if depth > MAX_DEPTH:
            raise ApiError(400, f"the request is nested more than {MAX_DEPTH} levels deep")
    if _SURROGATE.search(content):
        try:
            json.dumps(json.loads(content), ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise ApiError(400, "the request has half a surrogate pair; send text as UTF-8") from None
        except ValueError:
            return  # no JSON: told where it is parsed


def _whole(value: Any) -> Any:
    if isinstance(value, list) and any(isinstance(each, float) for each in value):
        return [_whole(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**53 else value
