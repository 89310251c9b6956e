"""The exceptions that are meant for people to read."""

import re
from collections.abc import Callable

NAMED = re.compile(r"`(\w+)`")


class OpenbookError(Exception):
    """A problem that a person can fix: the message names the file or option, what is wrong with it, and the cure.

    The command prints the message as one line and exits with 1. Any other exception is a bug and keeps its traceback.
    """

    def spelled(self, spell: Callable[[str], str]) -> str:
        """The message with every setting's name as `spell` writes it."""
        return str(self)

    def rewritten(self, rewrite: Callable[[str], str]) -> "OpenbookError":
        """The same error with another message; what it says of settings is still spelled by each door."""
        return type(self)(rewrite(str(self)))


class SettingError(OpenbookError):
    """A setting that cannot be. The message names settings in backquotes, as in "`head_width` 3: must be even".

    Each door spells them in its own way: Python as keywords, which is the exception's text; the command as options.
    """

    def __init__(self, message: str) -> None:
        super().__init__(NAMED.sub(r"\1", message))
        self.message = message

    def spelled(self, spell: Callable[[str], str]) -> str:
        return NAMED.sub(lambda found: spell(found[1]), self.message)

    def rewritten(self, rewrite: Callable[[str], str]) -> "SettingError":
        return type(self)(rewrite(self.message))
