"""JSON from a stranger: no duplicate keys, no NaN or infinity, no endless numbers, no deep nesting."""

import json
import math
from typing import Any, NoReturn

from openbook.errors import OpenbookError
from openbook.text.corpus.printable import excerpt

DAMAGED = "the file is damaged: copy or download it again"
MAXIMUM_DEPTH = 32
LONGEST_INTEGER = 20
"""Characters; what fits 64 bits, sign included."""


def read_json(what: str, text: str, limit: int, longest_integer: int = LONGEST_INTEGER) -> Any:
    """The value that `text` writes.

    Args:
        what: how errors call it, such as "field training".
        text: one JSON value.
        limit: the greatest length accepted, in characters; it bounds time and memory.
        longest_integer: the most characters of a whole number.

    Raises:
        OpenbookError: saying what is wrong, and the cure.
    """

    def whole(digits: str) -> int:
        if len(digits) > longest_integer:
            raise _RefusedError(f"has a number too long to be one: {excerpt(digits)}")
        return int(digits)

    try:
        if len(text) > limit:
            raise _RefusedError(f"is {len(text):,} characters long, more than the {limit:,} allowed")
        value = json.loads(
            text, object_pairs_hook=_unique, parse_constant=_not_finite, parse_float=_finite, parse_int=whole
        )
        if _deeper_than(value, MAXIMUM_DEPTH):
            raise RecursionError
    except _RefusedError as reason:
        raise OpenbookError(f"{what} {reason}; {DAMAGED}") from None
    except RecursionError:
        raise OpenbookError(f"{what} is nested more than {MAXIMUM_DEPTH} levels deep; {DAMAGED}") from None
    except ValueError as error:
        raise OpenbookError(f"{what} is not JSON ({excerpt(str(error), 80)}); {DAMAGED}") from None
    return value


class _RefusedError(Exception):
    """JSON, but not of the kind that is read here."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = {}
    for key, item in pairs:
        if key in value:
            raise _RefusedError(f'has the key "{excerpt(key)}" twice')
        value[key] = item
    return value


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        _not_finite(digits)
    return number


def _not_finite(digits: str) -> NoReturn:
    raise _RefusedError(f"has a number that is not finite: {excerpt(digits)}")


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
