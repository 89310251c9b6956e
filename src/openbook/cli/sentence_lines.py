"""Sentences from the command line, a file or a pipe, and their translations as lines, in the same order."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import typer

from openbook.cli.console import candidate_facts
from openbook.cli.input_lines import input_name, read_input
from openbook.errors import OpenbookError
from openbook.generation.scheduling import read_ahead
from openbook.generation.translation import Sentence, Translation, Translator
from openbook.text.characters import clean_line
from openbook.text.corpus.readers.lines import InvalidLine
from openbook.text.formatting import format_count
from openbook.text.output import warn
from openbook.text.printable import json_line
from openbook.text.tokenizer.tokenizer import Tokenizer


def translated_lines(
    translator: Translator,
    sentences: Sequence[str] | None,
    file: Path | None,
    *,
    as_json: bool,
    n_best: int,
    encoding: str | None = None,
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
        windows: Iterable[Sequence[Sentence]] = [[Sentence(sentence) for sentence in sentences or ()]]
        if not sentences:
            windows = read_ahead(map(as_sentence, read_input(file, encoding)))
        for number, translation in enumerate(translator(windows), start=1):
            if translation.problem is not None:
                skipped += 1
                warn(f"line {number} is skipped: {translation.problem}")
            if as_json:
                yield as_json_line(translator.target_tokenizer, translation) + "\n"
            else:
                yield as_line(translation, number, n_best) + "\n"
    except OSError as error:
        raise OpenbookError(f"{input_name(file)}: cannot be read ({error.strerror or error})") from None
    if not number:
        raise OpenbookError(f"{input_name(file)}: has no sentences; write one on each line")
    if skipped:
        warn(f"skipped {skipped:,} of {format_count(number, 'line')}, left empty")
    if skipped == number:
        raise typer.Exit(1)


def as_sentence(line: str | InvalidLine) -> Sentence:
    """A line as a sentence to translate; one that is no text has a problem instead."""
    return Sentence(line) if isinstance(line, str) else Sentence("", f"it is {line.value}; see --encoding")


def as_line(translation: Translation, number: int, n_best: int) -> str:
    """One line; for n-best one each, with the sentence's number, the score and the text between tabs."""
    if n_best == 1:
        return clean_line(translation.text)
    return "\n".join(
        f"{number}\t{each.hypothesis.score:.4f}\t{clean_line(each.text)}" for each in translation.candidates
    )


def as_json_line(tokenizer: Tokenizer, translation: Translation) -> str:
    """One JSON object: source, translation and all candidates, or source and problem."""
    facts: dict[str, Any] = {"source": translation.source}
    if translation.problem is not None:
        return json_line(facts | {"translation": "", "problem": translation.problem})
    facts["translation"] = translation.text
    candidates = [candidate_facts(tokenizer, each) for each in translation.candidates]
    return json_line(facts | {"candidates": candidates})
