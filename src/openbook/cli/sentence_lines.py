"""Sentences from the command line, a file or a pipe, and their translations as lines, in the same order."""

import contextlib
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import typer

from openbook.errors import OpenbookError
from openbook.generation.scheduling import read_ahead
from openbook.generation.translation import Sentence, Translation, Translator
from openbook.text.output import warn
from openbook.text.printable import json_line

MAX_LINE_BYTES = 1 << 20
"""A longer line is skipped without being held in memory."""


def translated_lines(
    translator: Translator, sentences: Sequence[str] | None, file: Path | None, *, as_json: bool, n_best: int
) -> Iterator[str]:
    """The translation of each sentence or line, as soon as those before it are there. Skipped ones are reported.

    Raises:
        OpenbookError: there are no sentences, or a file cannot be read.
        typer.Exit: all were skipped.
    """
    if sentences and file:
        raise OpenbookError("give sentences or --file, not both")
    if not sentences and file is None and sys.stdin.isatty():
        raise OpenbookError('there is no sentence; give one after the model: openbook ask MODEL "Good morning."')
    number = skipped = 0
    try:
        with contextlib.ExitStack() as stack:
            windows: Iterable[Sequence[Sentence]] = [[Sentence(sentence) for sentence in sentences or ()]]
            if not sentences:
                opened = sys.stdin.buffer if file is None or str(file) == "-" else stack.enter_context(file.open("rb"))
                windows = read_ahead(read_sentences(opened))
            for number, translation in enumerate(translator(windows), start=1):
                if translation.problem is not None:
                    skipped += 1
                    warn(f"line {number} is skipped: {translation.problem}")
                yield (as_json_line(translation) if as_json else as_line(translation, number, n_best)) + "\n"
    except OSError as error:
        raise OpenbookError(f"{file or 'standard input'}: cannot be read ({error.strerror or error})") from None
    if not number:
        raise OpenbookError(f"{file or 'standard input'}: has no sentences; write one on each line")
    if skipped:
        warn(f"{skipped:,} of {number:,} lines skipped; they are left empty")
    if skipped == number:
        raise typer.Exit(1)


def read_sentences(file: BinaryIO) -> Iterator[Sentence]:
    """A sentence for each line; one that is not UTF-8 or far too long has a problem instead."""
    while line := file.readline(MAX_LINE_BYTES):
        problem = None
        if len(line) == MAX_LINE_BYTES and not line.endswith(b"\n"):
            problem = f"it is longer than {MAX_LINE_BYTES:,} bytes"
            while (rest := file.readline(MAX_LINE_BYTES)) and not rest.endswith(b"\n"):
                pass
            line = line[:100]
        try:
            yield Sentence(line.decode("utf-8").rstrip("\r\n"), problem)
        except UnicodeDecodeError as error:
            text = line.decode("utf-8", "replace").rstrip("\r\n")
            yield Sentence(text, problem or f"it is not UTF-8 at byte {error.start + 1}")


def as_line(translation: Translation, number: int, n_best: int) -> str:
    """One line; for n-best one each, with the sentence's number, the score and the text between tabs."""
    if n_best == 1:
        return " ".join(translation.text.splitlines())
    return "\n".join(
        f"{number}\t{each.hypothesis.score:.4f}\t{' '.join(each.text.splitlines())}" for each in translation.candidates
    )


def as_json_line(translation: Translation) -> str:
    """One JSON object: source, translation and all candidates, or source and problem."""
    facts: dict[str, Any] = {"source": translation.source}
    if translation.problem is not None:
        return json_line(facts | {"translation": "", "problem": translation.problem})
    facts["translation"] = translation.text
    facts["candidates"] = [
        {
            "text": each.text,
            "score": each.hypothesis.score,
            "log_probability": each.hypothesis.log_probability,
            "tokens": list(each.hypothesis.tokens),
            "finish_reason": each.hypothesis.finish_reason,
        }
        for each in translation.candidates
    ]
    return json_line(facts)
