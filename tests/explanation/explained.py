"""Small models explained, with a tokenizer whose tokens are hard to display."""

import io

import torch
from rich.console import Console

from openbook.errors import OpenbookError
from openbook.explanation.derivations import Derivation, derive
from openbook.explanation.run import explain
from openbook.explanation.terminal.derivation_page import parse_number, print_derivation
from openbook.explanation.terminal.summary_page import print_summary
from openbook.explanation.views.summarize import Selection, summarize
from strategies import DEFAULT, ORIGINAL, VOCABULARY, build


class Words:
    """A tokenizer of a few hostile tokens; the last ids have none, as in a vocabulary that was rounded up."""

    tokens = (
        b" the",
        b"\x1b[31mred",
        b"[bold]",
        b"\n",
        "\u202eback".encode(),
        "\u0301".encode(),
        b"\xe2\x82",
        "日本語".encode() * 9,
        b'"',
        b"",
    )

    def token_bytes(self, token_id):
        if token_id >= VOCABULARY - 2:
            raise OpenbookError(f"token {token_id}")
        return self.tokens[token_id % len(self.tokens)]


def view(spec, tokens, *, source=None, number=None, offsets=None, template=(), **selection):
    """What `openbook explain` shows: the summary of a run, or how one number of it follows."""
    explanation = explain(build(spec), list(tokens), source=source)
    if number is not None:
        path, index = parse_number(number)
        return derive(explanation.model, explanation.trace, path, index, offsets)
    return summarize(explanation, Words(), Selection(**selection), offsets=offsets, template=template)


def printed(spec=DEFAULT, tokens=range(10), width=80, **choices):
    """The same as text."""
    stream = io.StringIO()
    console = Console(file=stream, width=width, color_system=None)
    shown = view(spec, tokens, **choices)
    (print_derivation if isinstance(shown, Derivation) else print_summary)(shown, console)
    return stream.getvalue()


def translated(spec=ORIGINAL, source=range(1, 9), target=range(5), **choices):
    """The page of a source and a target so far."""
    return printed(spec, target, source=list(source), **choices)


def summed(spec=DEFAULT, tokens=range(6), positions=None, documents=None, template=(), **selection):
    """A run and its summary."""
    explanation = explain(build(spec), torch.tensor([list(tokens)]), positions, documents)
    return explanation, summarize(explanation, Words(), Selection(**selection), template=template)
