"""Books → a corpus: read, find duplicates, split. Streams; uses all cores; goes on where it was interrupted.

The stages leave their results in a working folder, files for each batch of books and each section of text. A result
that is there is not made again, and when all is written the working folder goes.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise
from pathlib import Path

from openbook.errors import OpenbookError
from openbook.progress import Track, silent
from openbook.text.corpus.books import find_books
from openbook.text.corpus.corpus import Corpus
from openbook.text.corpus.minhash import Section, fingerprint_section
from openbook.text.corpus.process_pool import run
from openbook.text.corpus.read_batch import Batch, Facts, read_batch
from openbook.text.corpus.working_directory import mendable, size_and_time, working_folder
from openbook.text.corpus.writing import finish

VERSION = 1
"""Raise it whenever the same books would give another corpus."""

UNIT = 8 << 20
"""Bytes of books, or of text, that are worked on and kept together."""


def prepare(
    inputs: Sequence[str | Path],
    folder: Path,
    *,
    validation: Sequence[str | Path] | None = None,
    validation_share: float | None = None,
    keep_duplicates: bool = False,
    processes: int | None = None,
    track: Track = silent,
) -> Corpus:
    """Make a corpus in `folder` of the books that `inputs` name (files, folders, globs), or find it made already.

    `validation_share` of every document, its tail, is held out (by default 10 % of little text, less of much); with
    `validation` files these are held out instead, unchanged, and passages like theirs leave the training text.
    Raises OpenbookError where nothing is left to train on, or the folder cannot be written.
    """
    if validation_share is not None and not 0 <= validation_share <= 0.5:
        raise OpenbookError(f"validation share {validation_share}: must be from 0 to 0.5 of the text")
    books, held_out = find_books(inputs), find_books(validation or [])
    fingerprint = _fingerprint(books, held_out, [validation is None, validation_share, keep_duplicates])
    if (corpus := _finished(folder)) and corpus.fingerprint == fingerprint:
        return corpus
    with mendable(folder):
        work = working_folder(folder, fingerprint)
        batches = [*_batches(held_out, work, "validation"), *_batches(books, work, "training")]
        with track("Reading books", sum(batch.size for batch in batches)) as advance:
            run(read_batch, batches, processes, advance)
        facts = [Facts.load(batch.result) for batch in batches]
        _refuse_nothing(facts, validation is not None)
        sections = [] if keep_duplicates else _sections(batches, facts, work)
        with track("Looking for duplicates", sum(section.size for section in sections)) as advance:
            run(fingerprint_section, sections, processes, advance)
        share = 0.0 if validation is not None else validation_share
        finish(folder, fingerprint, batches, facts, sections, share, track)
        shutil.rmtree(work, ignore_errors=True)
    return Corpus.load(folder)


def _fingerprint(books: list[Path], held_out: list[Path], options: list[object]) -> str:
    """A hash of what a corpus is made from."""
    states = [[(os.path.realpath(path), *size_and_time(path)) for path in paths] for paths in (books, held_out)]
    content = [VERSION, UNIT, states, options]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _finished(folder: Path) -> Corpus | None:
    try:
        return Corpus.load(folder)
    except (OSError, KeyError, TypeError, ValueError):
        return None  # none yet, or half of one


def _batches(books: list[Path], work: Path, name: str) -> Iterator[Batch]:
    """Batches of consecutive books with about `UNIT` bytes together; a larger book is one by itself."""
    group: list[Path] = []
    size = number = 0
    for position, book in enumerate(books):
        group.append(book)
        size += size_and_time(book)[0]
        if size >= UNIT or position == len(books) - 1:
            yield Batch(tuple(group), work / f"{name}-{number:06}", size, held_out=name == "validation")
            group, size, number = [], 0, number + 1


def _refuse_nothing(facts: list[Facts], has_validation: bool) -> None:
    documents = [document for each in facts for document in each.documents]
    problems = "".join(f"\n  {problem}" for each in facts for problem in each.problems)
    if all(document.held_out for document in documents):
        raise OpenbookError(f"no text to train on{':' + problems if problems else '; name some books'}")
    if has_validation and not any(document.held_out for document in documents):
        raise OpenbookError(f"no text to validate with{':' + problems if problems else '; name some files'}")


def _sections(batches: list[Batch], facts: list[Facts], work: Path) -> list[Section]:
    """The text of all batches, in order, in sections that start in the same `UNIT` of bytes."""
    sections: list[Section] = []
    for batch, each in zip(batches, facts, strict=True):
        pieces = (piece for document in each.documents for piece in pairwise(document.borders))
        for _, group in groupby(pieces, key=lambda piece: piece[0] // UNIT):
            sections.append(Section(batch.text, tuple(group), work / f"{len(sections):06}", batch.held_out))
    return sections
