"""The tables of a summary: tokens, layers, predictions, attention, neurons, candidates."""

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from openbook.explanation.terminal.layout import bar, format_decimal, make_table, print_heading, print_line
from openbook.explanation.token_display import truncate
from openbook.explanation.views.summary import Attended, Candidate, LayerPrediction, Summary, Token
from openbook.text.formatting import format_count

TOKENS_SHOWN = 16


def print_tokens(title: str, tokens: Sequence[Token], followed: int | None, console: Console) -> None:
    """The tokens around the followed one."""
    print_heading(console, title, f"{format_count(len(tokens), 'token')}. Indices and positions count from 0.")
    table = make_table("index", "position", "id", "token", left=["token"])
    window = _window(0 if followed is None else followed, len(tokens))
    for token in tokens[window.start : window.stop]:
        position = "padding" if token.position < 0 else str(token.position)
        remark = "  of the template" if token.template else ""
        remark += "  ← followed below" if token.index == followed else ""
        table.add_row(str(token.index), position, str(token.id), Text(truncate(token.text) + remark))
    console.print(table)
    _print_left_out(window, len(tokens), console)
    if any(token.text.startswith("<") for token in tokens[window.start : window.stop]):
        print_line(console, "A token such as <C3> is a byte that is only part of a character.", indent=1)


def print_layers(summary: Summary, console: Console) -> None:
    """A line for each layer: self-attention, what the sublayers add, the length of the residual stream."""
    adds = [name for name in summary.layers[0].added_length if name != "cross-attention"]
    columns = ("attends to", "weight", *(f"{name} adds" for name in adds), "length")
    table = make_table("layer", *columns, left=["attends to"])
    for layer in summary.layers:
        attended = _attended(layer.attends_to["self-attention"], summary.tokens)
        lengths = (*(layer.added_length[name] for name in adds), layer.residual_length)
        table.add_row(str(layer.number), *attended, *map(format_decimal, lengths))
    console.print(table)


def print_cross_attention_of_layers(summary: Summary, console: Console) -> None:
    """A line for each layer: cross-attention, and what it adds."""
    columns = ("attends in the source to", "weight", "cross-attention adds")
    table = make_table("layer", *columns, left=["attends in the source to"])
    for layer in summary.layers:
        attended = _attended(layer.attends_to["cross-attention"], summary.source)
        table.add_row(str(layer.number), *attended, format_decimal(layer.added_length["cross-attention"]))
    console.print(table)


def _attended(attended: Attended | None, tokens: Sequence[Token]) -> tuple[Text, str]:
    if attended is None:
        return Text("no such head"), "–"
    text = truncate(tokens[attended.index].text, 12)
    return Text(f"{attended.index} {text}"), format_decimal(attended.weight)


def print_layer_predictions(predictions: Sequence[LayerPrediction], console: Console) -> None:
    """A line for each layer: what it predicts, and how it ranks the token that the last one predicts."""
    answer = f"of {truncate(predictions[-1].text, 16)}"
    table = make_table("layer", "predicts", "probability", answer, "rank", left=["predicts"])
    for each in predictions:
        layer = "none" if each.layer < 0 else str(each.layer)
        probabilities = map(format_decimal, (each.probability, each.answer_probability))
        table.add_row(layer, Text(truncate(each.text)), *probabilities, f"{each.answer_rank:,}")
    console.print(table)


def print_attention(summary: Summary, part: str, console: Console) -> None:
    """One head's row of the attention part at this path: from score to weight, for each token that can be attended."""
    rows, tokens = summary.attention[part], summary.attended_tokens(part)
    console.print()
    where = "" if tokens is summary.tokens else " of the source"
    title = f"Head {summary.head}: how token {summary.token} attends to each token s{where}"
    console.print(Text(title, style="bold"))
    steps = [name for name in rows[0].values if name not in ("masked_scores", "weights")]
    columns = ("s", "token", *(name.replace("_", " ") for name in steps), "mask", "weight", "")
    table = make_table(*columns, left=["token", "mask", ""])
    heaviest = sorted(rows, key=lambda row: abs(row.values["weights"]), reverse=True)
    shown, hidden = heaviest[:TOKENS_SHOWN], heaviest[TOKENS_SHOWN:]
    largest = max(1.0, *(abs(row.values["weights"]) for row in rows))
    for row in sorted(shown, key=lambda row: row.index):
        weight = row.values["weights"]
        table.add_row(
            str(row.index),
            Text(truncate(tokens[row.index].text)),
            *(format_decimal(row.values[name]) for name in steps),
            row.masked_by or "seen",
            format_decimal(weight),
            bar(abs(weight) / largest),
        )
    console.print(table)
    if hidden:
        most, together = hidden[0].values["weights"], sum(row.values["weights"] for row in hidden)
        remark = f"they weigh {format_decimal(together)} together and {format_decimal(most)} at most"
        console.print(Text(f" … left out: the {len(hidden):,} lightest of {len(rows):,} tokens; {remark}"))
    total = sum(row.values["weights"] for row in rows)
    console.print(Text(f"  sum of all weights: {format_decimal(total)}; a full bar is {format_decimal(largest)}"))


def print_neurons(summary: Summary, console: Console) -> None:
    """The most active neurons."""
    console.print()
    title = f"The {len(summary.neurons)} most active of {summary.neuron_count:,} neurons for token {summary.token}"
    console.print(Text(title, style="bold"))
    table = make_table("neuron", *summary.neurons[0].values)
    for neuron in summary.neurons:
        table.add_row(str(neuron.number), *map(format_decimal, neuron.values.values()))
    console.print(table)


def print_candidates(candidates: Sequence[Candidate], vocab_size: int, console: Console) -> None:
    """The most probable next tokens."""
    table = make_table("id", "token", "logit", "probability", "", left=["token", ""])
    for each in candidates:
        numbers = (format_decimal(each.logit), format_decimal(each.probability), bar(each.probability))
        table.add_row(str(each.id), Text(truncate(each.text)), *numbers)
    console.print(table)
    rest = 1 - sum(each.probability for each in candidates)
    if len(candidates) < vocab_size:
        console.print(Text(f"  all other tokens together: {format_decimal(rest)}"))


def _window(token: int, length: int) -> range:
    """The tokens to show where there are too many: the chosen one, those before it and a few after it."""
    first = max(0, min(token - TOKENS_SHOWN + 4, length - TOKENS_SHOWN))
    return range(first, min(length, first + TOKENS_SHOWN))


def _print_left_out(window: range, length: int, console: Console) -> None:
    outside = [f"0 to {window.start - 1}"] if window.start else []
    outside += [f"{window.stop} to {length - 1}"] if window.stop < length else []
    if outside:
        console.print(Text(f" … left out: tokens {' and '.join(outside)}"))
