"""The text view at a glance: the algorithm in its steps for this prompt, the numbers that matter, what to open next.

It fits 60 lines of 80 columns.
"""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.text import Text

from openbook.explanation.page.page_run import PageRun
from openbook.explanation.terminal.layout import bar, format_decimal, make_table, print_heading, print_line
from openbook.explanation.token_display import truncate
from openbook.text.formatting import format_bytes

LAYERS_SHOWN = 8
TOKENS_SHOWN = 12
CANDIDATES_SHOWN = 5
_ALWAYS = ("Attention", "Cross-attention", "Feed-forward")


def print_outline(page: PageRun, console: Console) -> None:
    """Print how the first token of a run was found, and the rest of the answer."""
    manifest = page.manifest()
    added = page.view("contributions", {"step": "0"})
    _print_tokens(manifest, console)
    opened = _strongest_layer(added)
    for section in manifest["outline"]:
        if section["layer"] is None and section["title"] != "Answer":
            _print_steps(section["title"], section["steps"], console)
        elif section["stack"] == "encoder" and section["layer"] == 0:
            steps = [step for step in section["steps"] if step["title"] in _ALWAYS]
            _print_steps(f"{section['title']} of {_layers(manifest, 'encoder')}", steps, console)
        elif section["stack"] == "decoder" and section["layer"] == opened:
            title = f"{section['title']} of {_layers(manifest, 'decoder')}, which adds most to the answer"
            brief = manifest["source"] is not None
            _print_steps(title, [s for s in section["steps"] if not brief or s["title"] in _ALWAYS], console)
    _print_layers(page, added, console)
    _print_answer(page, manifest, console)
    _print_what_else(manifest, opened, console)


def _layers(manifest: Mapping[str, Any], stack: str) -> str:
    return f"{len(manifest['model']['stacks'][stack]['layers']):,}"


def _print_tokens(manifest: Mapping[str, Any], console: Console) -> None:
    model = manifest["model"]
    facts = f"{model['kind']}, {model['parameters']:,} parameters, width {model['width']:,}"
    print_line(console, Text.assemble((model["file"], "bold"), f"  {facts}"))
    for name, tokens in (("source", manifest["source"]), ("read", manifest["tokens"][: manifest["prompt_length"]])):
        if tokens is None:
            continue
        shown = tokens[-TOKENS_SHOWN:]
        before = f"… {len(tokens) - len(shown):,} more, " if len(shown) < len(tokens) else ""
        line = Text(f"{name}: {before}")
        for token in shown:
            line.append(f"{token['text']} ", style="dim" if token["made_by"] == "template" else "")
        print_line(console, line)


def _print_steps(title: str, steps: list[dict[str, Any]], console: Console) -> None:
    console.print(Text(title, style="bold"))
    for step in steps:
        line = Text.assemble((f"{step['number']} {step['title']}", "cyan"), f"  {step['sentence']}")
        print_line(console, line, indent=2)


def _strongest_layer(added: Mapping[str, Any]) -> int:
    """The layer whose parts add the most to the logit of the answer."""
    strongest = max(added["layers"], key=lambda each: each["attention"] + each["cross"] + each["feed_forward"])
    return int(strongest["layer"])


def _print_layers(page: PageRun, added: Mapping[str, Any], console: Console) -> None:
    """What each layer adds to the answer's logit, and what it would say."""
    lens = page.view("lens", {"step": "0", "from": str(added["row"])})["rows"]
    title = f"What each layer adds to the logit of {added['token']['text']}, and would say if it were the last"
    console.print(Text(title, style="bold"))
    cross = any(each["cross"] for each in added["layers"])
    columns = ("attention", *(("cross",) * cross), "top head", "feed-forward")
    table = make_table("layer", *columns, "says", "probability", left=["says"])
    size = {
        each["layer"]: abs(each["attention"]) + abs(each["cross"]) + abs(each["feed_forward"])
        for each in added["layers"]
    }
    shown = sorted(sorted(size, key=lambda layer: -size[layer])[:LAYERS_SHOWN])
    for layer in shown:
        each, cell = added["layers"][layer], lens[layer + 1]["cells"][-1]
        head = max(each["heads"], key=lambda head: head["value"])
        numbers = [format_decimal(each["attention"])]
        numbers += [format_decimal(each["cross"])] * cross
        numbers += [f"{head['head']}: {format_decimal(head['value'])}", format_decimal(each["feed_forward"])]
        table.add_row(str(layer), *numbers, Text(truncate(cell["text"], 14)), format_decimal(cell["probability"]))
    console.print(table)
    others = [term for term in added["terms"] if term["layer"] is None]
    rest = ", ".join(f"{term['name']} {format_decimal(term['value'])}" for term in others)
    left = f" {len(size) - len(shown):,} layers that add less are left out." if len(shown) < len(size) else ""
    print_line(
        console, f"{rest}; all parts: {format_decimal(added['sum'])}, the logit (error {added['error']:.0e}).{left}"
    )


def _print_answer(page: PageRun, manifest: Mapping[str, Any], console: Console) -> None:
    steps = next(section["steps"] for section in manifest["outline"] if section["title"] == "Answer")
    _print_steps("Answer", [step for step in steps if step["title"] not in ("Normalize", "Softmax")], console)
    first = manifest["steps"][0]
    table = make_table("id", "token", "probability", "", left=["token", ""])
    for each in sorted((first, *first["alternatives"]), key=lambda token: -token["probability"])[:CANDIDATES_SHOWN]:
        probability = each["probability"]
        table.add_row(str(each["id"]), Text(truncate(each["text"])), format_decimal(probability), bar(probability))
    console.print(table)
    later = "  ".join(f"{step['text']} {format_decimal(step['probability'])}" for step in manifest["steps"][1:9])
    if later:
        print_line(console, f"then {later}" + ("  …" if len(manifest["steps"]) > 9 else ""))


def _print_what_else(manifest: Mapping[str, Any], layer: int, console: Console) -> None:
    print_heading(console, "What else to open", "The page, with everything down to each number: without --terminal.")
    path = f"decoder.blocks.{layer}.self_attention.weights"
    index = f"0,0,{manifest['prompt_length'] - 1},0"
    console.print(
        Text(f"  --layer {layer}, --head, --token, --all: each step with its formula and numbers\n"
             f"  --summary: what goes in, what comes out, which tensors\n"
             f'  --number "{path}[{index}]"'),
        soft_wrap=True,
    )  # fmt: skip


def print_part_table(page: PageRun, console: Console) -> None:
    """The table layer · part · in · out · tensors of the first step, for the last token that it read."""
    table = page.view("summary", {"step": "0"})
    token = page.model.text(page.run.tokens[page.run.steps[0].end - 1])
    print_heading(
        console, "In, out and tensors", f"The numbers are the first of token {table['row']}, {truncate(token)}."
    )
    place = None
    for row in table["rows"]:
        here = (row["stack"], row["layer"])
        if here != place and row["layer"] is not None:
            console.print(Text(f"{row['stack']} layer {row['layer']}", style="bold"))
        place = here
        console.print(Text.assemble((f"  {row['part']}", "cyan"), f": {row['what']}"), soft_wrap=True)
        console.print(Text(f"    in  {_numbers(row['inside_shape'], row['inside_numbers'])}"), soft_wrap=True)
        console.print(Text(f"    out {_numbers(row['outside_shape'], row['outside_numbers'])}"), soft_wrap=True)
        for tensor in row["tensors"]:
            shape = " × ".join(f"{length:,}" for length in tensor["shape"])
            console.print(Text(f"    {tensor['name']}  {shape}  {format_bytes(tensor['bytes'])}"), soft_wrap=True)


def _numbers(shape: tuple[int, ...], numbers: tuple[float, ...]) -> str:
    lengths = " × ".join(f"{length:,}" for length in shape)
    more = " …" if shape and shape[-1] > len(numbers) and len(numbers) > 1 else ""
    shown = [f"id {numbers[0]:.0f}"] if len(numbers) == 1 else map(format_decimal, numbers)
    return f"{lengths}: {'  '.join(shown)}{more}"
