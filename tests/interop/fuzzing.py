"""What the scripts of coverage-guided fuzzing share."""

import sys
from contextlib import suppress

import atheris

from openbook.errors import OpenbookError


def fuzz(kinds):
    """Run atheris: an input's first byte says which of `kinds` takes the rest, which may end in an OpenbookError."""

    def one(content: bytes) -> None:
        if content:
            with suppress(OpenbookError):
                kinds[content[0] % len(kinds)](content[1:])

    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
