"""All plain printing: whoever wrote a text, a terminal shows its control characters and obeys none.

A program at the other end of a pipe gets the text as it is. Pages and tables go to a `Terminal`.
"""

import sys

from openbook.text.printable import printable, visible


def write(text: str, end: str = "\n") -> None:
    """Print to standard output at once; where that is a terminal, with control characters made visible."""
    shown = visible(text) if sys.stdout is not None and sys.stdout.isatty() else text
    print(shown, end=end, flush=True)


def warn(message: str) -> None:
    """Print a line to standard error: the name of the command and the message, its control characters made visible."""
    print(f"openbook: {printable(message)}", file=sys.stderr)
