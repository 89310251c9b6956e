"""The layout of terminal pages: wrapped lines, headings, tables, bars.

Text from prompts and files goes in as `Text`, which rich does not read for markup.
"""

from collections.abc import Iterable

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

BAR_WIDTH = 12


def print_line(console: Console, text: str | Text, indent: int = 0) -> None:
    """A line; where it wraps, the rest is indented like its beginning."""
    console.print(Padding(text if isinstance(text, Text) else Text(text), (0, 0, 0, indent), expand=False))


def print_heading(console: Console, title: str, sentence: str) -> None:
    """A title over the width of the page, and a sentence that says what follows."""
    console.print()
    console.rule(Text(title, style="bold"), align="left", characters="─")
    print_line(console, sentence)


def make_table(*columns: str, left: Iterable[str] = ()) -> Table:
    """A table without lines; columns hold numbers and are aligned right, except those in `left`."""
    table = Table(box=None, padding=(0, 1), header_style="bold")
    for column in columns:
        table.add_column(Text(column), justify="left" if column in left else "right", no_wrap=True)
    return table


def format_decimal(value: float) -> str:
    """Four digits after the point, so that numbers in a column can be compared."""
    return f"{value:.4f}".replace("-", "−").replace("inf", "∞").replace("nan", "NaN")


def bar(fraction: float) -> str:
    """A bar for a number from 0 to 1; nothing for NaN."""
    return "█" * round(BAR_WIDTH * fraction) if fraction == fraction else ""
