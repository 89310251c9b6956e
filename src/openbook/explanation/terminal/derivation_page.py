"""The page of one number: formula, the same with numbers, operands and where they are, each term of a sum."""

import re

from rich.console import Console
from rich.text import Text

from openbook.errors import SettingError
from openbook.explanation.derivations import Derivation
from openbook.explanation.expression_text import format_number
from openbook.explanation.reader import Number, Operand
from openbook.explanation.terminal.layout import make_table, print_line
from openbook.text.formatting import format_count

ROWS_SHOWN = 16

_NUMBER = re.compile(r"([\w.]+)\[\s*(\d{1,9}(?:\s*,\s*\d{1,9})*)\s*\]")


def parse_number(text: str) -> tuple[str, tuple[int, ...]]:
    """ "decoder.embedded[0,5,2]" → ("decoder.embedded", (0, 5, 2)).

    Raises:
        OpenbookError: it is not of this form.
    """
    match = _NUMBER.fullmatch(text.strip())
    if match is None:
        raise SettingError(f"`number` {text!r}: give a path and an index, as in decoder.embedded[0,5,2]")
    return match[1], tuple(map(int, match[2].split(",")))


def print_derivation(derivation: Derivation, console: Console) -> None:
    """Print how one number follows from its operands."""
    print_line(console, Text(f"{derivation.path}[{','.join(map(str, derivation.index))}]", style="bold"))
    print_line(console, derivation.meaning)
    console.print()
    print_line(console, Text(derivation.formula, style="cyan"), indent=2)
    which = ", ".join(f"{letter} = {index}" for letter, index in derivation.letters.items())
    print_line(console, f"for {which}", indent=2)
    for definition in derivation.definitions:
        print_line(console, f"with {definition.name} = {definition.formula} = {definition.with_numbers}", indent=2)
    console.print()
    if derivation.with_numbers != format_number(derivation.recomputed):
        print_line(console, f"= {derivation.with_numbers}", indent=2)
    print_line(console, Text(f"= {format_number(derivation.recomputed)}", style="bold"), indent=2)
    recorded = f"recorded {derivation.recorded:.9g}, recomputed {derivation.recomputed:.9g}"
    print_line(console, f"{recorded}, error {derivation.error:.1e}".replace("-", "−").replace("inf", "∞"), indent=2)
    console.print()
    for operand in derivation.operands:
        _print_operand(operand, console)
    _print_terms(derivation, console)


def _print_operand(operand: Operand, console: Console) -> None:
    first, many = operand.numbers[0], len(operand.numbers) > 1
    value = f"{format_count(len(operand.numbers), 'number')}" if many else format_number(first.value)
    print_line(console, Text.assemble((operand.symbols, "bold"), f" = {value}"))
    if operand.kind == "given":
        origin = f"given by {operand.source}"
    else:
        byte = "" if first.byte is None else f", {'from byte' if many else 'byte'} {first.byte:,}"
        origin = f"{operand.kind}: {operand.source}{_index_range(operand.numbers)}{byte}"
    print_line(console, Text(origin, style="dim"), indent=4)


def _index_range(numbers: tuple[Number, ...]) -> str:
    """The index of an operand, from the first to the last along a running letter: "[0,4,0–7]"."""
    first, last = numbers[0].index, numbers[-1].index
    if not first:
        return ""
    spans = (str(start) if start == end else f"{start}–{end}" for start, end in zip(first, last, strict=True))
    return f"[{','.join(spans)}]"


def _print_terms(derivation: Derivation, console: Console) -> None:
    """The operands with many numbers side by side, and each term of a sum; of long ones those of the largest terms."""
    columns = {
        operand.symbols: [number.value for number in operand.numbers]
        for operand in derivation.operands
        if len(operand.numbers) > 1
    }
    letter, total = "", None
    for each in derivation.sums:
        columns["term"], letter, total = list(each.terms), each.letter, each
    if not columns:
        return
    last = list(columns.values())[-1]
    rows = sorted(sorted(range(len(last)), key=lambda row: -abs(last[row]))[:ROWS_SHOWN])
    table = make_table(letter, *columns)
    for row in rows:
        table.add_row(str(row), *(format_number(values[row]) for values in columns.values()))
    if total is not None:
        table.add_row(f"Σ_{letter}", *[""] * (len(columns) - 1), Text(format_number(total.total), style="bold"))
    console.print()
    if len(rows) < len(last):
        print_line(console, f"The {len(rows)} largest of {len(last):,}" + ("; the sum is over all:" if total else ":"))
    console.print(table)
