"""JSON from untrusted files: no duplicate keys, no NaN or infinity, no endless numbers, no deep nesting."""

import json
import math
from typing import Any, NoReturn

from openbook.errors import OpenbookError
from openbook.text.printable import excerpt

DAMAGED = "the file is damaged: copy or download it again"
"""The cure that errors about damaged files end with."""
MAXIMUM_DEPTH = 32
MAXIMUM_INTEGER_LENGTH = 20
"""Characters; enough for 64 bits and a sign."""


def read_json(what: str, text: str, limit: int, maximum_integer_length: int = MAXIMUM_INTEGER_LENGTH) -> Any:
    """Parse one JSON value.

    Args:
        what: the name to use in errors, such as "field training".
        text: the JSON.
        limit: the greatest length accepted, in characters; it bounds time and memory.
        maximum_integer_length: the most characters of an integer.

    Raises:
        OpenbookError: what is wrong, and the cure.
    """

    def parse_int(digits: str) -> int:
        if len(digits) > maximum_integer_length:
            raise _RejectedError(f"has a number too long to be one: {excerpt(digits)}")
        return int(digits)

    try:
        if len(text) > limit:
            raise _RejectedError(f"is {len(text):,} characters long, more than the {limit:,} allowed")
        value = json.loads(
            text,
            object_pairs_hook=_reject_duplicate_keys,
            parse_constant=_reject_not_finite,
            parse_float=_parse_finite,
            parse_int=parse_int,
        )
        if _deeper_than(value, MAXIMUM_DEPTH):
            raise RecursionError
    except _RejectedError as reason:
        raise OpenbookError(f"{what} {reason}; {DAMAGED}") from None
    except RecursionError:
        raise OpenbookError(f"{what} is nested more than {MAXIMUM_DEPTH} levels deep; {DAMAGED}") from None
    except ValueError as error:
        raise OpenbookError(f"{what} is not JSON ({excerpt(str(error), 80)}); {DAMAGED}") from None
    return value


class _RejectedError(Exception):
    """Valid JSON that this module does not accept."""


def _reject_duplicate_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = {}
    for key, item in pairs:
        if key in value:
            raise _RejectedError(f'has the key "{excerpt(key)}" twice')
        value[key] = item
    return value


def _parse_finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        _reject_not_finite(digits)
    return number


def _reject_not_finite(digits: str) -> NoReturn:
    raise _RejectedError(f"has a number that is not finite: {excerpt(digits)}")


def _deeper_than(value: Any, depth: int) -> bool:
    level = [value]
    for _ in range(depth):
        level = [
            child
            for parent in level
            if isinstance(parent, dict | list)
            for child in (parent.values() if isinstance(parent, dict) else parent)
        ]
    return bool(level)
