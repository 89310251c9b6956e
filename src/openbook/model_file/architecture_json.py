"""The architecture in a model file's header, as JSON that may come from anyone."""

from pydantic import TypeAdapter, ValidationError

from openbook.errors import OpenbookError
from openbook.text.field_errors import field_errors
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
        first = field_errors(error, Architecture)[0]
        field = f", field {first.path}" if first.place else ""
        raise OpenbookError(f"architecture{field}: {first.problem}") from None
