"""The architecture in a model file's header, as JSON that may come from anyone."""

from pydantic import TypeAdapter, ValidationError

from openbook.errors import OpenbookError
from openbook.transformer.architecture import Architecture

MAXIMUM_CHARACTERS = 2**21
_adapter: TypeAdapter[Architecture] = TypeAdapter(Architecture)


def write_architecture(architecture: Architecture) -> str:
    """All fields, defaults too, so that a later default cannot change an old file."""
    return _adapter.dump_json(architecture).decode()


def read_architecture(text: str) -> Architecture:
    """Read what `write_architecture` wrote.

    Raises:
        OpenbookError: naming the first field that is missing, unknown or out of range.
    """
    if len(text) > MAXIMUM_CHARACTERS:
        raise OpenbookError(f"architecture: {len(text):,} characters, more than {MAXIMUM_CHARACTERS:,}")
    try:
        return _adapter.validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"])[:200]
        field = f", field {place if place.isprintable() else ascii(place)}" if place else ""
        raise OpenbookError(f"architecture{field}: {first['msg'].removeprefix('Value error, ')}") from None
