"""The page of a traced run in a terminal: from the tokens to the next one, every step with its numbers.

Fits 80 columns and says nothing by colour alone.
"""

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from openbook.explanation.expression_text import format_number
from openbook.explanation.layout import bar, decimal, heading, line, make_table
from openbook.explanation.summary import Look, Quantity, Source, Summary, Token
from openbook.explanation.token_display import short

TOKENS_SHOWN = 16

LETTERS = {
    "b": "a row of the batch",
    "t": "a token",
    "s": "a token it looks at, or of the source",
    "h": "an attention head",
    "d": "a number of a token's vector",
    "k": "a number of a head's vector",
    "i": "a pair of numbers turned together",
    "f": "a neuron",
    "e": "an expert",
    "c": "a choice among experts",
    "v": "a token of the vocabulary",
    "Σ_d": "the sum over all d",
}


def print_summary(summary: Summary, console: Console) -> None:
    """Print a summary, from the tokens down to the next one."""
    _all_tokens(summary, console)
    heading(console, "From tokens to vectors", "Each token id picks a row of a trained table.")
    line(console, f"Letters in formulas: {', '.join(f'{letter} {meaning}' for letter, meaning in LETTERS.items())}.")
    for quantity in summary.before:
        _quantity(quantity, console)
    _layers(summary, console)
    if summary.said:
        _said_by_layers(summary, console)
    followed = (
        f"Followed here: token {summary.token}, {short(summary.tokens[summary.token].text)}; head {summary.head}."
    )
    of = f" of the {summary.stack}" if summary.source else ""
    heading(console, f"Layer {summary.layer}{of}, step by step", followed)
    for quantity in summary.detail:
        _quantity(quantity, console)
        part, _, name = quantity.path.rpartition(".")
        if name == "weights":
            _attention(summary, part, console)
        if name == "hidden":
            _neurons(summary, console)
    if summary.stack == "encoder":
        heading(console, "What the decoder looks at", "The vectors of the source, after all layers.")
    else:
        heading(
            console, "From vectors to logits", "A logit for each token of the vocabulary: how well it would fit next."
        )
    for quantity in summary.after:
        _quantity(quantity, console)
    if summary.candidates:
        _candidates(summary, console)
    _further(summary, console)


def _all_tokens(summary: Summary, console: Console) -> None:
    """The tables of tokens: of the prompt, or of the source and then of the target."""
    if summary.source:
        followed = summary.token if summary.stack == "encoder" else None
        _tokens("The source", summary.source, followed, console)
    if summary.stack == "decoder":
        _tokens("The target so far" if summary.source else "The prompt", summary.tokens, summary.token, console)


def _tokens(title: str, tokens: Sequence[Token], followed: int | None, console: Console) -> None:
    heading(console, title, f"{len(tokens):,} tokens. TokenPositions and positions count from 0.")
    table = make_table("place", "position", "id", "token", left=["token"])
    window = _window(0 if followed is None else followed, len(tokens))
    for token in tokens[window.start : window.stop]:
        position = "padding" if token.position < 0 else str(token.position)
        remark = "  of the template" if token.template else ""
        remark += "  ← followed below" if token.place == followed else ""
        table.add_row(str(token.place), position, str(token.id), Text(short(token.text) + remark))
    console.print(table)
    _left_out(window, len(tokens), console)
    if any(token.text.startswith("<") for token in tokens[window.start : window.stop]):
        line(console, "A token such as <C3> is a byte that is only part of a character.", indent=1)


def _window(token: int, length: int) -> range:
    """The tokens to show where there are too many: the chosen one, those before it and a few after."""
    first = max(0, min(token - TOKENS_SHOWN + 4, length - TOKENS_SHOWN))
    return range(first, min(length, first + TOKENS_SHOWN))


def _left_out(window: range, length: int, console: Console, remark: str = "") -> None:
    outside = [f"0 to {window.start - 1}"] if window.start else []
    outside += [f"{window.stop} to {length - 1}"] if window.stop < length else []
    if outside:
        console.print(Text(f" … left out: tokens {' and '.join(outside)}{remark}"))


def _quantity(quantity: Quantity, console: Console) -> None:
    shape = " × ".join(map(str, quantity.shape))
    axes = ", ".join("1" if letter == "_" else letter for letter in quantity.axes)
    console.print()
    line(
        console,
        Text.assemble((quantity.path, "bold"), (f"  {shape} ({axes})".replace(" ", "\N{NO-BREAK SPACE}"), "dim")),
    )
    line(console, quantity.meaning, indent=2)
    line(console, Text(quantity.formula, style="cyan"), indent=2)
    for source in quantity.sources:
        if said := _said(source):
            line(console, Text(said, style="dim"), indent=4)
    if quantity.axes[-1] == "s":
        return  # a row of attention: the table after its weights shows it token by token
    where = zip(quantity.axes, quantity.chosen, strict=False)
    chosen = ", ".join(f"{letter} = {place}" for letter, place in where if letter not in ("b", "_"))
    numbers = "  ".join(map(decimal, quantity.numbers))
    more = quantity.length - len(quantity.numbers)
    line(console, f"{chosen}: {numbers}" + (f"  … {more:,} more" if more else ""), indent=2)


def _said(source: Source) -> str | None:
    """What stands behind a name, unless the name says it all."""
    if source.kind == "constant":
        assert source.value is not None
        return f"{source.name} = {format_number(source.value)}, {source.path}"
    if source.kind == "weight":
        byte = "" if source.byte is None else f", from byte {source.byte:,}"
        return f"{source.name}: {source.path}, {' × '.join(map(str, source.shape))}{byte}"
    return None if source.path.endswith(f".{source.name}") else f"{source.name}: {source.path}"


def _said_by_layers(summary: Summary, console: Console) -> None:
    answer = short(summary.said[-1].text)
    sentence = (
        f"The logit lens: the final norm and the logits, as if that layer were the last, after token {summary.token}. "
        f"The last layer says {answer}: how probable is it in each, and which place does it take?"
    )
    heading(console, "What each layer would say", sentence)
    table = make_table("layer", "says", "probability", f"of {short(summary.said[-1].text, 16)}", "place", left=["says"])
    for said in summary.said:
        numbers = (decimal(said.probability), decimal(said.answer), f"{said.rank:,}")
        table.add_row("none" if said.layer < 0 else str(said.layer), Text(short(said.text)), *numbers)
    console.print(table)


def _layers(summary: Summary, console: Console) -> None:
    of = f" of the {summary.stack}" if summary.source else ""
    sentence = (
        f"What each layer does to token {summary.token}: which token its head {summary.head} looks at most, and the "
        "lengths of the vectors that its sublayers add and of the token's vector afterwards."
    )
    heading(console, f"All layers{of}", sentence)
    adds = [name for name in summary.layers[0].adds if name != "cross-attention"]
    table = make_table("layer", "looks at", "weight", *(f"{name} adds" for name in adds), "length", left=["looks at"])
    for layer in summary.layers:
        looked_at = _looked_at(layer.looks_at["self-attention"], summary.tokens)
        table.add_row(
            str(layer.number), *looked_at, *(decimal(layer.adds[name]) for name in adds), decimal(layer.length)
        )
    console.print(table)
    if "cross-attention" in summary.layers[0].adds:
        console.print()
        table = make_table(
            "layer", "looks in the source at", "weight", "cross-attention adds", left=["looks in the source at"]
        )
        for layer in summary.layers:
            looked_at = _looked_at(layer.looks_at["cross-attention"], summary.source)
            table.add_row(str(layer.number), *looked_at, decimal(layer.adds["cross-attention"]))
        console.print(table)


def _looked_at(look: Look | None, tokens: Sequence[Token]) -> tuple[Text, str]:
    if look is None:
        return Text("no such head"), "–"
    return Text(f"{look.place} {short(tokens[look.place].text, 12)}"), decimal(look.weight)


def _attention(summary: Summary, part: str, console: Console) -> None:
    rows, tokens, place = summary.attention[part], summary.seen_by(part), summary.token
    where = "of the source" if tokens is not summary.tokens else ""
    if where:
        place = max(range(len(rows)), key=lambda row: abs(rows[row].values["weights"]))
    console.print()
    title = f"Head {summary.head}: what token {summary.token} makes of each token s {where}"
    console.print(Text(title.rstrip(), style="bold"))
    names = list(rows[0].values)
    shown = [name for name in names if name not in ("masked_scores", "weights")]
    table = make_table(
        "s", "token", *(name.replace("_", " ") for name in shown), "mask", "weight", "", left=["token", "mask", ""]
    )
    window = _window(place, len(rows))
    largest = max(1.0, *(abs(row.values["weights"]) for row in rows))
    for row in rows[window.start : window.stop]:
        weight = row.values["weights"]
        table.add_row(
            str(row.place),
            Text(short(tokens[row.place].text)),
            *(decimal(row.values[name]) for name in shown),
            row.hidden or "seen",
            decimal(weight),
            bar(abs(weight) / largest),
        )
    console.print(table)
    outside = sum(row.values["weights"] for row in rows if row.place not in window)
    _left_out(window, len(rows), console, f", which weigh {decimal(outside)} together")
    total = sum(row.values["weights"] for row in rows)
    console.print(Text(f"  all weights together: {decimal(total)}; a full bar is {decimal(largest)}"))


def _neurons(summary: Summary, console: Console) -> None:
    console.print()
    title = f"The {len(summary.neurons)} most active of {summary.neuron_count:,} neurons for token {summary.token}"
    console.print(Text(title, style="bold"))
    table = make_table("neuron", *summary.neurons[0].values)
    for neuron in summary.neurons:
        table.add_row(str(neuron.number), *map(decimal, neuron.values.values()))
    console.print(table)


def _candidates(summary: Summary, console: Console) -> None:
    last, chosen = summary.tokens[-1], summary.candidates[0]
    sentence = f"After {short(last.text)} the most probable of {summary.vocab_size:,} tokens is {short(chosen.text)}."
    heading(console, "The next token", sentence)
    table = make_table("id", "token", "logit", "probability", "", left=["token", ""])
    for candidate in summary.candidates:
        numbers = (decimal(candidate.logit), decimal(candidate.probability), bar(candidate.probability))
        table.add_row(str(candidate.id), Text(short(candidate.text)), *numbers)
    console.print(table)
    rest = 1 - sum(candidate.probability for candidate in summary.candidates)
    if len(summary.candidates) < summary.vocab_size:
        console.print(Text(f"  all other tokens together: {decimal(rest)}"))


def _further(summary: Summary, console: Console) -> None:
    example = next(each for each in summary.detail if each.path.endswith(".scores"))
    index = ",".join(map(str, (*example.chosen, 0)))
    heading(console, "Reading on", "Other layers, heads and tokens: --layer, --head, --token. How one number follows:")
    console.print(Text(f"  --number {example.path}[{index}]"), soft_wrap=True)
    if summary.source:
        other = "without --encoder" if summary.stack == "encoder" else "--encoder"
        line(console, f"A target to go on from: --target. How the {_other(summary)}: {other}.")


def _other(summary: Summary) -> str:
    return "target is written" if summary.stack == "encoder" else "source was read"
