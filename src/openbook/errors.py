"""The one exception that a person is meant to read."""


class OpenbookError(Exception):
    """Something a person can mend: the message names the file or option, what is wrong with it, and the cure.

    The command prints it as one line and exits with 1; everything else is a defect and keeps its traceback.
    """
