"""How the terminal pages are laid out: lines that wrap under their own beginning, headings, tables, bars.

Text from prompts and files goes in as `Text`, which rich does not read for markup.
"""

from collections.abc import Iterable

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

BAR_WIDTH = 12


def line(console: Console, text: str | Text, indent: int = 0) -> None:
    """A line whose rest, when it must be wrapped, is indented like its beginning."""
    console.print(Padding(text if isinstance(text, Text) else Text(text), (0, 0, 0, indent), expand=False))


def heading(console: Console, title: str, sentence: str) -> None:
    """A title over the width of the page, and what to expect under it."""
    console.print()
    console.rule(Text(title, style="bold"), align="left", characters="─")
    line(console, sentence)


def make_table(*columns: str, left: Iterable[str] = ()) -> Table:
    """A table without lines; columns are for numbers, unless named in `left`."""
    table = Table(box=None, padding=(0, 1), header_style="bold")
    for column in columns:
        table.add_column(Text(column), justify="left" if column in left else "right", no_wrap=True)
    return table


def decimal(value: float) -> str:
    """Four digits after the point, so that numbers under each other can be compared."""
    return f"{value:.4f}".replace("-", "−").replace("inf", "∞")


def bar(share: float) -> str:
    """A bar for a number from 0 to 1."""
    return "█" * round(BAR_WIDTH * share)
