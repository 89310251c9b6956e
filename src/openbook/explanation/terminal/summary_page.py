"""The page of a traced run: from the tokens of the prompt to the next token, each step with its numbers.

It fits 80 columns and says nothing by colour alone.
"""

from rich.console import Console
from rich.text import Text

from openbook.explanation.expression_text import format_number
from openbook.explanation.terminal.layout import format_decimal, print_heading, print_line
from openbook.explanation.terminal.summary_tables import (
    print_attention,
    print_candidates,
    print_cross_attention_of_layers,
    print_layer_predictions,
    print_layers,
    print_neurons,
    print_tokens,
)
from openbook.explanation.token_display import truncate
from openbook.explanation.views.summary import Origin, RecordedTensor, Summary

LETTERS = {
    "b": "a row of the batch",
    "t": "a token",
    "s": "a token that it attends to, or one of the source",
    "h": "an attention head",
    "d": "a number of a token's vector",
    "k": "a number of a head's vector",
    "i": "a pair of numbers that rotate together",
    "f": "a neuron",
    "e": "an expert",
    "c": "a choice among experts",
    "v": "a token of the vocabulary",
    "Σ_d": "the sum over all d",
}


def print_summary(summary: Summary, console: Console) -> None:
    """Print a summary, from the tokens of the prompt to the next one."""
    _print_all_tokens(summary, console)
    print_heading(console, "From tokens to vectors", "Each token id selects a row of a trained table.")
    letters = "; ".join(f"{letter} {meaning}" for letter, meaning in LETTERS.items())
    print_line(console, f"Letters in formulas: {letters}.")
    for tensor in summary.before:
        _print_tensor(tensor, console)
    _print_all_layers(summary, console)
    if summary.layer_predictions:
        _print_lens(summary, console)
    _print_chosen_layer(summary, console)
    if summary.stack == "encoder":
        print_heading(console, "What the decoder attends to", "The vectors of the source after all layers.")
    else:
        sentence = "One logit for each token of the vocabulary: how well it would fit as the next token."
        print_heading(console, "From vectors to logits", sentence)
    for tensor in summary.after:
        _print_tensor(tensor, console)
    if summary.candidates:
        _print_next_token(summary, console)
    _print_what_else(summary, console)


def _print_all_tokens(summary: Summary, console: Console) -> None:
    """The tokens of the prompt, or of the source and then of the target."""
    if summary.source:
        followed = summary.token if summary.stack == "encoder" else None
        print_tokens("The source", summary.source, followed, console)
    if summary.stack == "decoder":
        title = "The target so far" if summary.source else "The prompt"
        print_tokens(title, summary.tokens, summary.token, console)


def _print_tensor(tensor: RecordedTensor, console: Console) -> None:
    """Path and shape, meaning, formula, where its names come from, and the first numbers."""
    shape = " × ".join(map(str, tensor.shape))
    axes = ", ".join("1" if letter == "_" else letter for letter in tensor.axes)
    unbroken = f"  {shape} ({axes})".replace(" ", "\N{NO-BREAK SPACE}")
    console.print()
    print_line(console, Text.assemble((tensor.path, "bold"), (unbroken, "dim")))
    print_line(console, tensor.meaning, indent=2)
    print_line(console, Text(tensor.formula, style="cyan"), indent=2)
    for origin in tensor.origins:
        if text := _origin_text(origin):
            print_line(console, Text(text, style="dim"), indent=4)
    if tensor.axes[-1] == "s":
        return  # a row of attention: the table after its weights shows it token by token
    index = ", ".join(
        f"{letter} = {at}" for letter, at in zip(tensor.axes, tensor.index, strict=False) if letter not in ("b", "_")
    )
    numbers = "  ".join(map(format_decimal, tensor.numbers))
    more = tensor.length - len(tensor.numbers)
    print_line(console, f"{index}: {numbers}" + (f"  … {more:,} more" if more else ""), indent=2)


def _origin_text(origin: Origin) -> str | None:
    """Where a name's numbers come from; None where the name itself says it."""
    if origin.kind == "constant":
        assert origin.value is not None
        return f"{origin.name} = {format_number(origin.value)}, {origin.path}"
    if origin.kind == "weight":
        byte = "" if origin.byte is None else f", from byte {origin.byte:,}"
        return f"{origin.name}: {origin.path}, {' × '.join(map(str, origin.shape))}{byte}"
    return None if origin.path.endswith(f".{origin.name}") else f"{origin.name}: {origin.path}"


def _print_all_layers(summary: Summary, console: Console) -> None:
    sentence = (
        f"What each layer does to token {summary.token}: the token that its head {summary.head} attends to most, and "
        "the lengths of the vectors that its sublayers add and of the token's vector afterwards."
    )
    print_heading(console, f"All layers{_of_stack(summary)}", sentence)
    print_layers(summary, console)
    if "cross-attention" in summary.layers[0].added_length:
        console.print()
        print_cross_attention_of_layers(summary, console)


def _print_lens(summary: Summary, console: Console) -> None:
    sentence = (
        f"The logit lens: the final norm and the logits after token {summary.token}, as if that layer were the last. "
        f"The last layer predicts {truncate(summary.layer_predictions[-1].text)}: its probability and its rank in each "
        "layer."
    )
    print_heading(console, "What each layer predicts", sentence)
    print_layer_predictions(summary.layer_predictions, console)


def _print_chosen_layer(summary: Summary, console: Console) -> None:
    token = truncate(summary.tokens[summary.token].text)
    sentence = f"Followed here: token {summary.token}, {token}; head {summary.head}."
    print_heading(console, f"Layer {summary.layer}{_of_stack(summary)}, step by step", sentence)
    for tensor in summary.detail:
        _print_tensor(tensor, console)
        part, _, name = tensor.path.rpartition(".")
        if name == "weights":
            print_attention(summary, part, console)
        if name == "hidden":
            print_neurons(summary, console)


def _print_next_token(summary: Summary, console: Console) -> None:
    followed, best = summary.tokens[summary.token], summary.candidates[0]
    after = f"After token {followed.index}, {truncate(followed.text)},"
    sentence = f"{after} the most probable of {summary.vocab_size:,} tokens is {truncate(best.text)}."
    if followed.index + 1 < len(summary.tokens):
        sentence += f" The text goes on with {truncate(summary.tokens[followed.index + 1].text)}."
    print_heading(console, "The next token", sentence)
    print_candidates(summary.candidates, summary.vocab_size, console)


def _print_what_else(summary: Summary, console: Console) -> None:
    example = next(each for each in summary.detail if each.path.endswith(".scores"))
    index = ",".join(map(str, (*example.index, 0)))
    sentence = "Other layers, heads and tokens: --layer, --head, --token. How one number follows:"
    print_heading(console, "What else to open", sentence)
    console.print(Text(f"  --number {example.path}[{index}]"), soft_wrap=True)
    if summary.stack == "encoder":
        print_line(console, "A target to continue: --target. How the target is written: leave out --encoder.")
    elif summary.source:
        print_line(console, "A target to continue: --target. How the source is read: --encoder.")


def _of_stack(summary: Summary) -> str:
    return f" of the {summary.stack}" if summary.source else ""
