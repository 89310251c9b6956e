"""Tiny models whose every number fits on the screen, made in seconds: the worked examples of docs/examples/."""

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openbook.errors import OpenbookError
from openbook.model import Model, train
from openbook.progress import Track, silent

if TYPE_CHECKING:
    from openbook.training.loop import Callback

QUESTIONS: Sequence[tuple[str, str]] = (
    ("what can you do", "I answer questions"),
    ("who are you", "I am openbook"),
    ("what are you", "I am a model"),
    ("can you read", "I can read"),
    ("can you count", "I can count"),
    ("what can I do", "You ask questions"),
    ("who am I", "You are a reader"),
    ("am I a model", "You are a reader"),
    ("can I read", "You can read"),
    ("can I count", "You can count"),
    ("what can we do", "We learn"),
    ("who are we", "We are friends"),
    ("can we read", "We can read"),
    ("can we count", "We can count"),
    ("are we friends", "We are friends"),
    ("what can they do", "They help"),
    ("who are they", "They are teachers"),
    ("can they read", "They can read"),
    ("can they count", "They can count"),
    ("are they friends", "They are friends"),
)
"""Questions and answers in which "I", "You", "We" and "They" compete for the first word."""


@dataclass(frozen=True)
class Example:
    """A tiny model: what it learns, what to ask it, and how it differs from the plan of `train --tiny`.

    Attributes:
        summary: what it shows, in one line.
        prompt: to open it with.
        lines: that a decoder-only model learns by heart; else `pairs`.
        pairs: sources and targets that an encoder-decoder learns.
        choices: fields of `training.recipe.Recipe`.
    """

    summary: str
    prompt: str
    lines: Sequence[str] = ()
    pairs: Sequence[tuple[str, str]] = ()
    choices: Mapping[str, Any] = field(default_factory=dict)

    def text(self) -> str:
        """What it learns, as a file that `train --tiny` takes."""
        rows = self.lines or [f"{source}\t{target}" for source, target in self.pairs]
        return "".join(f"{row}\n" for row in rows)


EXAMPLES: Mapping[str, Example] = {
    "decoder-only": Example(
        "two sentences, width 4, one layer, one head: from word ids to the end token",
        "what is openbook",
        lines=("what is openbook awesome", "openbook is what awesome"),
        choices={"width": 4},
    ),
    "attention": Example(
        "masked multi-head attention on one sentence, two heads of width 4",
        "START The cat sat on mat",
        lines=("START The cat sat on mat",),
        choices={"width": 8, "heads": 2},
    ),
    "encoder-decoder": Example(
        "two-word sentences translated, with cross-attention",
        "ein hund",
        pairs=(("ein hund", "a dog"), ("eine katze", "a cat"), ("der hund", "the dog"), ("die katze", "the cat")),
    ),
    "questions": Example(
        "the original Transformer answers questions: encoder, decoder, layer norm after each sum, waves for positions",
        "what can you do",
        pairs=QUESTIONS,
        choices={"position": "sinusoidal", "norm": "layer", "norm_placement": "post"},
    ),
    "questions-decoder": Example(
        "the same questions for a decoder-only model: question and answer are one text",
        "what can you do",
        lines=tuple(f"{question} {answer}" for question, answer in QUESTIONS),
    ),
}


def make_example(
    name: str,
    output: Path,
    *,
    overwrite: bool = False,
    callbacks: "Sequence[Callback]" = (),
    track: Track = silent,
) -> Model:
    """Train the example; the same name gives the same model.

    Args:
        name: one of `EXAMPLES`.
        output: the model file.
        overwrite: replace an existing output.
        callbacks: called with every training event.
        track: shows progress of the preparation.

    Raises:
        OpenbookError: there is no such example, or the file cannot be written.
    """
    if name not in EXAMPLES:
        raise OpenbookError(f'there is no example "{name}"; there are {", ".join(EXAMPLES)}')
    example = EXAMPLES[name]
    with tempfile.TemporaryDirectory(prefix="openbook-example-") as folder:
        source = Path(folder, f"{name}.tsv" if example.pairs else f"{name}.txt")
        source.write_text(example.text(), encoding="utf-8")
        given: dict[str, Any] = {"pairs": source} if example.pairs else {"inputs": source}
        choices = {"seed": 0, **example.choices}
        model = train(
            **given,
            output=output,
            tiny=True,
            overwrite=overwrite,
            device="cpu",
            callbacks=callbacks,
            track=track,
            **choices,
        )
    if model.path is not None:  # an example begins anew each time, so its checkpoints are of no use
        shutil.rmtree(model.path.with_name(f"{model.path.name}.training"), ignore_errors=True)
    return model
