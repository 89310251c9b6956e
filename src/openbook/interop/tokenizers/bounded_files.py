"""Untrusted files: read up to a size limit, as UTF-8, as strict JSON."""

from pathlib import Path
from typing import Any

from openbook.errors import OpenbookError
from openbook.text.plain_files import open_member
from openbook.text.strict_json import read_json

MAXIMUM_BYTES = 256 << 20
"""The largest tokenizer files in use have 40 MB."""

MAXIMUM_INTEGER_LENGTH = 40
"""Characters; some files write 10^30 for a length without limit."""


def read_bytes(path: Path, limit: int = MAXIMUM_BYTES) -> bytes:
    """The bytes of a file.

    Raises:
        OpenbookError: the file cannot be read, is not one of its folder, or is longer than `limit` bytes.
    """
    try:
        with open_member(path) as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise OpenbookError(f"{path}: cannot be read ({error.strerror})") from None
    if len(data) > limit:
        raise OpenbookError(f"{path}: has more than {limit:,} bytes; no tokenizer needs as many")
    return data


def read_text(path: Path, limit: int = MAXIMUM_BYTES) -> str:
    """The text of a UTF-8 file. Raises OpenbookError as `read_bytes`, and where it is not UTF-8."""
    try:
        return read_bytes(path, limit).decode("utf-8")
    except UnicodeDecodeError as error:
        raise OpenbookError(f"{path}: is not UTF-8 at byte {error.start:,}; copy or download it again") from None


def read_object(path: Path, limit: int = MAXIMUM_BYTES) -> dict[str, Any]:
    """The JSON object in a file. Raises OpenbookError as `read_text`, and where there is no such object."""
    value = read_json(f"{path}:", read_text(path, limit), limit, MAXIMUM_INTEGER_LENGTH)
    if not isinstance(value, dict):
        raise OpenbookError(f"{path}: should hold a JSON object; copy or download it again")
    return value


def read_optional(path: Path, limit: int = MAXIMUM_BYTES) -> dict[str, Any]:
    """The JSON object in a file, or an empty one where there is no file."""
    return read_object(path, limit) if path.exists() else {}


def read_ids(path: Path) -> dict[str, int]:
    """A JSON object that maps tokens to ids. Raises OpenbookError as `read_object`, and for other values."""
    ids = read_object(path)
    if not all(isinstance(value, int) and not isinstance(value, bool) for value in ids.values()):
        raise OpenbookError(f"{path}: should map each token to its number; copy or download it again")
    return ids
