"""Print what a model file includes.

Every string from the file goes through `_text`, which makes a rich `Text` of printable characters, so that neither
markup nor control characters in it have an effect.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from openbook.model_file.architecture_summary import ranges
from openbook.text.formatting import format_count
from openbook.text.printable import printable

_MAX_STRING = 600  # characters of one string
_MAX_TEMPLATE_LINES = 8  # of a chat template
_MAX_ROWS = 8  # of a list in the training record
_MAX_NUMBERS = 64  # of such a list without rows
_SPARKS = "▁▂▃▄▅▆▇█"


def render(description: Mapping[str, Any], console: Console) -> None:
    """Print a description from `inspection.describe`."""
    d = description
    if "adapter" in d:
        _render_adapter(d, console)
        return
    summary = (
        f"  {_size(d['bytes'])} · {format_count(d['parameters'], 'parameter')} · {d['dtype']} · format {d['format']}"
    )
    console.print(Text.assemble((printable(d["file"]), "bold"), summary))
    _section(console, "Architecture", d["architecture"]["summary"].items())
    console.print()
    console.print(_parts_table(d["parts"]))
    _section(console, "Tokenizer", _tokenizer_rows(d["tokenizer"]))
    _section(console, "Generation", d["generation"].items() or [("defaults", "none in the file")])
    _section(console, "Training", _record_rows(d["training"]) or [("record", "none in the file")])
    template = d["chat_template"]
    more = {"chat template": "none" if template is None else _head(template), "license": d["license"] or "not stated"}
    if "engine" in d:
        more["engine here"] = f"{d['engine']['name']}: {d['engine']['why']}"
    _section(console, "More", more.items())


def _render_adapter(d: Mapping[str, Any], console: Console) -> None:
    summary = f"  {_size(d['bytes'])} · {format_count(d['parameters'], 'parameter')} · an adapter"
    console.print(Text.assemble((printable(d["file"]), "bold"), summary))
    adapter = d["adapter"]
    rows: list[tuple[str, object]] = [(name, adapter[name]) for name in ("base", "fingerprint", "scale")]
    rows += [("changes", f"{format_count(len(adapter['changes']), 'matrix', 'matrices')}: weight + scale · B · A")]
    _section(console, "Adapter", rows)
    console.print()
    console.print(_ranks_table(adapter["changes"]))
    _section(console, "Training", _record_rows(d["training"]) or [("record", "none in the file")])


def _ranks_table(changes: Sequence[Mapping[str, Any]]) -> Table:
    """A row for each matrix that changes; those of several blocks with the same name and rank share one."""
    groups: dict[tuple[str, str, int], list[int]] = {}
    for change in changes:
        stack, _, rest = change["name"].partition(".blocks.")
        number, _, name = rest.partition(".")
        key = (stack, name, change["rank"]) if number.isdecimal() else (change["name"], "", change["rank"])
        groups.setdefault(key, []).append(int(number) if number.isdecimal() else 0)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("matrix", overflow="fold")
    table.add_column("rank", justify="right", no_wrap=True)
    for (stack, name, rank), numbers in groups.items():
        table.add_row(_text(f"{stack}.blocks.{ranges(sorted(numbers))}.{name}" if name else stack), f"{rank:,}")
    return table


def _section(console: Console, title: str, rows: Iterable[tuple[str, object]]) -> None:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="cyan", overflow="fold", max_width=32)
    grid.add_column(overflow="fold")
    for name, value in rows:
        grid.add_row(_text(name), value if isinstance(value, Text | Table) else _text(_plain(value), keep_lines=True))
    console.print()
    console.print(Text(title, style="bold"))
    console.print(grid)


def _parts_table(parts: Sequence[Mapping[str, Any]]) -> Table:
    """A row for each part and each tensor; blocks of equal shapes share their rows."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("part", overflow="fold")
    for heading in ("shape", "parameters", "share", "bytes", "offset"):
        table.add_column(heading, justify="right", no_wrap=True)
    for _, group in groupby(parts, key=_group_key):
        members = list(group)
        first, total = members[0], sum(part["parameters"] for part in members)
        share = f"{sum(part['share'] for part in members):.1%}"
        size = f"{sum(part['bytes'] for part in members):,}"
        offset = f"{first['tensors'][0]['offset']:,}"
        name, repeated = first["name"], len(members) > 1
        if repeated:
            stem = name.rsplit(".", 1)[0]
            name = f"{stem}.{ranges(int(part['name'].rsplit('.', 1)[1]) for part in members)}"
        alone = len(first["tensors"]) == 1 and not repeated
        shape = _shape(first["tensors"][0]) if alone else ""
        label = first["tensors"][0]["name"] if alone else name
        table.add_row(Text(label, style="bold"), shape, f"{total:,}", share, size, offset)
        if repeated:
            each = (f"{first['parameters']:,}", "", f"{first['bytes']:,}", "")
            table.add_row(Text("  each block", style="italic"), "", *each, style="dim")
        for tensor in () if alone else first["tensors"]:
            inner = tensor["name"].removeprefix(f"{first['name']}.")
            row = (f"{tensor['parameters']:,}", "", f"{tensor['bytes']:,}", f"{tensor['offset']:,}")
            table.add_row(Text(f"  {inner}"), _shape(tensor), *row, style="dim")
    return table


def _group_key(part: Mapping[str, Any]) -> object:
    """Equal for blocks whose tensors have equal names and shapes, different for everything else."""
    stem, _, number = part["name"].rpartition(".")
    if not number.isdigit():
        return part["name"]
    return stem, [(t["name"].removeprefix(part["name"]), t["shape"]) for t in part["tensors"]]


def _tokenizer_rows(tokenizer: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    merges = f", {format_count(tokenizer['merges'], 'merge')}" if tokenizer["merges"] else ""
    yield "kind", f"{tokenizer['kind']}, {format_count(tokenizer['vocab_size'], 'token')}{merges}"
    special = [{"id": number, "text": text} for text, number in tokenizer["special_tokens"].items()]
    yield "special", _tokens(special[:_MAX_ROWS])
    yield "samples", _tokens(tokenizer["samples"])
    yield "sentence", tokenizer["sentence"]["text"]
    yield "in tokens", _tokens(tokenizer["sentence"]["tokens"])


def _tokens(tokens: Iterable[Mapping[str, Any]]) -> Text:
    """Tokens with their ids, spaces shown as dots."""
    shown = Text()
    for token in tokens:
        text = printable(token["text"][:_MAX_STRING]).replace(" ", "·")
        shown.append(text, style="reverse").append(f" {token['id']}  ", style="dim")
    return shown


def _record_rows(record: Mapping[str, Any]) -> list[tuple[str, object]]:
    """The training record, whatever is in it: objects on one line, lists of objects as tables."""
    rows: list[tuple[str, object]] = []
    for name, value in record.items():
        if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
            rows.append((name, _records_table(value)))
            if name == "losses":
                rows.extend(_curves(value))
        elif isinstance(value, list) and len(value) > _MAX_NUMBERS:
            rows.append((name, f"{len(value):,} numbers (--json has them)"))
        else:
            rows.append((name, value))
    return rows


def _records_table(records: Sequence[Mapping[str, Any]]) -> Table:
    """At most `_MAX_ROWS` records, evenly spaced, with the first and the last."""
    last = len(records) - 1
    picked = sorted({round(i * last / (_MAX_ROWS - 1)) for i in range(_MAX_ROWS)})
    names = list(dict.fromkeys(name for number in picked for name in records[number]))[:_MAX_ROWS]
    table = Table(box=None, pad_edge=False)
    for name in names:
        table.add_column(_text(name), overflow="fold")
    for number in picked:
        table.add_row(*(Text(_without_middle(_plain(records[number].get(name, "")), 32)) for name in names))
    return table


def _curves(losses: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, object]]:
    """A sparkline of each number but the step, with its first, last and lowest value."""
    for name in dict.fromkeys(name for record in losses for name in record if name != "step"):
        values = [r[name] for r in losses if type(r.get(name)) in (int, float)]
        if len(values) < 2 or not math.isfinite(max(values) - min(values)):
            continue
        low, high, last = min(values), max(values), len(values) - 1
        picked = [values[round(i * last / 39)] for i in range(40)] if last > 39 else values
        heights = ((value - low) / (high - low) if high > low else 0.0 for value in picked)
        curve = "".join(_SPARKS[round(height * (len(_SPARKS) - 1))] for height in heights)
        yield name, f"{curve}  {values[0]:.4g} → {values[-1]:.4g}, least {low:.4g}"


def _plain(value: object) -> str:
    """Any JSON value on one line."""
    match value:
        case dict():
            return ", ".join(f"{name} {_plain(item)}" for name, item in value.items())
        case list():
            return ", ".join(_plain(item) for item in value)
        case bool() | None:
            return {True: "yes", False: "no", None: "–"}[value]
        case float():
            return f"{value:.6g}"
        case _:
            return str(value)


def _without_middle(text: str, length: int) -> str:
    """At most so many characters: names of files often differ at their end."""
    if len(text) <= length:
        return printable(text)
    end = length // 2
    return f"{printable(text[: length - end - 1])}…{printable(text[-end:])}"


def _head(text: str) -> str:
    lines = text.splitlines()
    rest = len(lines) - _MAX_TEMPLATE_LINES
    return "\n".join(lines[:_MAX_TEMPLATE_LINES]) + (f"\n… {rest:,} more lines (--json has them)" if rest > 0 else "")


def _text(text: str, keep_lines: bool = False) -> Text:
    return Text(printable(text[:_MAX_STRING], keep_lines) + ("…" if len(text) > _MAX_STRING else ""))


def _shape(tensor: Mapping[str, Any]) -> str:
    return " × ".join(f"{size:,}" for size in tensor["shape"])


def _size(count: int) -> str:
    size = float(count)
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} GB"
