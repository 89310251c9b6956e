"""Files of a folder from a stranger: plain files inside it, of bounded size, in strict JSON."""

from pathlib import Path
from typing import Any

from openbook.errors import OpenbookError
from openbook.text.strict_json import read_json

MAXIMUM_FILE = 256 << 20
"""Bytes; the largest tokenizer files in use have 40 MB."""

LONGEST_INTEGER = 40
"""Characters; some write 10^30 for a length without limit."""


def read_bytes(path: Path, limit: int = MAXIMUM_FILE) -> bytes:
    """What a file holds. Raises OpenbookError where it cannot be read or is longer than `limit` bytes."""
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise OpenbookError(f"{path}: cannot be read ({error.strerror})") from None
    if len(data) > limit:
        raise OpenbookError(f"{path}: has more than {limit:,} bytes; no tokenizer needs as many")
    return data


def read_text(path: Path, limit: int = MAXIMUM_FILE) -> str:
    """The UTF-8 text of a file. Raises OpenbookError as `read_bytes`, and where it is not UTF-8."""
    try:
        return read_bytes(path, limit).decode("utf-8")
    except UnicodeDecodeError as error:
        raise OpenbookError(f"{path}: is not UTF-8 at byte {error.start:,}; copy or download it again") from None


def read_object(path: Path, limit: int = MAXIMUM_FILE) -> dict[str, Any]:
    """The JSON object in a file. Raises OpenbookError as `read_text`, and where it is no such thing."""
    value = read_json(f"{path}:", read_text(path, limit), limit, LONGEST_INTEGER)
    if not isinstance(value, dict):
        raise OpenbookError(f"{path}: should hold a JSON object; copy or download it again")
    return value


def read_optional(path: Path, limit: int = MAXIMUM_FILE) -> dict[str, Any]:
    """The JSON object in a file, or an empty one where there is no file."""
    return read_object(path, limit) if path.exists() else {}
