"""The one exception that is meant for people to read."""


class OpenbookError(Exception):
    """A problem that a person can fix: the message names the file or option, what is wrong with it, and the cure.

    The command prints the message as one line and exits with 1. Any other exception is a bug and keeps its traceback.
    """
