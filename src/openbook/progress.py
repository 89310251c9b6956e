"""Progress bars with the time left, for anything that may take more than two seconds.

Library functions take a `Track` and are silent by default; the command passes `bars`.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

Advance = Callable[[int], None]
"""Report that many more units (bytes, tokens, steps) as done."""

Track = Callable[[str, int | None], AbstractContextManager[Advance]]
"""`with track("Reading", total) as advance:` opens a bar; None as the total means that it is unknown."""


@contextmanager
def silent(description: str, total: int | None) -> Iterator[Advance]:
    """Report nothing."""
    yield lambda amount: None


@contextmanager
def bars(description: str, total: int | None) -> Iterator[Advance]:
    """Show a bar with the time left on standard error if that is a terminal, and clear it at the end."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda amount: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(description, total=total)
        yield lambda amount: progress.advance(task, amount)
