"""Books → a corpus: read, remove duplicates, split. Streams, uses all cores, and resumes where it was interrupted.

Each stage leaves its results in a working directory: files for each batch of books and for each section of text.
A result that exists is not made again. When the corpus is complete the working directory is removed.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise
from pathlib import Path

from openbook.errors import OpenbookError, SettingError
from openbook.progress import Track, silent
from openbook.text.corpus.corpus import Corpus
from openbook.text.corpus.deduplication.sections import Section, fingerprint_section
from openbook.text.corpus.extraction import ExtractedBatch, FileBatch, extract_batch
from openbook.text.corpus.process_pool import run_tasks
from openbook.text.corpus.readers.encodings import named_encoding
from openbook.text.corpus.working_directory import fingerprint_inputs, load_or_make, size_and_mtime
from openbook.text.corpus.write_corpus import write_corpus
from openbook.text.input_files import find_files

VERSION = 3
"""Increase it whenever the same books would give another corpus."""

TASK_BYTES = 8 << 20
"""Bytes of books, or of text, in one task."""


def prepare(
    inputs: Sequence[str | Path],
    folder: Path,
    *,
    validation: Sequence[str | Path] | None = None,
    validation_fraction: float | None = None,
    keep_duplicates: bool = False,
    encoding: str | None = None,
    processes: int | None = None,
    track: Track = silent,
) -> Corpus:
    """Make a corpus of books in `folder`, or open it if it is there already.

    Args:
        inputs: files, folders and globs.
        folder: where the corpus goes.
        validation: files to hold out. They stay unchanged, and passages like theirs leave the training text.
        validation_fraction: how much of each document, at its end, to hold out where no `validation` files are given;
            by default 10 % of little text, less of much.
        keep_duplicates: remove no repeated passages.
        encoding: of the text files; None finds it out for each.
        processes: how many to use; None: one per core if there is enough text.
        track: shows progress.

    Raises:
        OpenbookError: there is nothing to train on, or the folder cannot be written.
    """
    if validation_fraction is not None and not 0 <= validation_fraction <= 0.5:
        raise SettingError(f"`validation_fraction` {validation_fraction}: must be from 0 to 0.5 of the text")
    encoding = None if encoding is None else named_encoding(encoding)
    books, held_out = find_files(inputs), find_files(validation or [])
    options = (VERSION, TASK_BYTES, validation is None, validation_fraction, keep_duplicates, encoding)
    fingerprint = fingerprint_inputs((books, held_out), *options)

    def make(work: Path) -> None:
        batches = [*_batches(held_out, work, "validation", encoding), *_batches(books, work, "training", encoding)]
        with track("Reading books", sum(batch.size for batch in batches)) as advance:
            run_tasks(extract_batch, batches, processes, advance)
        extracted = [ExtractedBatch.load(batch.result) for batch in batches]
        _require_text(extracted, validation is not None)
        sections = [] if keep_duplicates else _sections(batches, extracted, work)
        with track("Looking for duplicates", sum(section.size for section in sections)) as advance:
            run_tasks(fingerprint_section, sections, processes, advance)
        share = 0.0 if validation is not None else validation_fraction
        write_corpus(folder, fingerprint, list(zip(batches, extracted, strict=True)), sections, share, track)

    return load_or_make(folder, fingerprint, Corpus.load, make)


def _batches(paths: list[Path], work: Path, name: str, encoding: str | None) -> Iterator[FileBatch]:
    """Batches of consecutive files with about `TASK_BYTES` together; a larger file is a batch by itself."""
    group: list[Path] = []
    size = number = 0
    for position, path in enumerate(paths):
        group.append(path)
        size += size_and_mtime(path)[0]
        if size >= TASK_BYTES or position == len(paths) - 1:
            stem = work / f"{name}-{number:06}"
            yield FileBatch(tuple(group), stem, size, name == "validation", encoding)
            group, size, number = [], 0, number + 1


def _require_text(extracted: list[ExtractedBatch], has_validation: bool) -> None:
    documents = [document for batch in extracted for document in batch.documents]
    problems = "; ".join(problem for batch in extracted for problem in batch.problems)
    if all(document.held_out for document in documents):
        raise OpenbookError(f"no text to train on{f' ({problems})' if problems else '; name some books'}")
    if has_validation and not any(document.held_out for document in documents):
        raise OpenbookError(f"no text to validate with{f' ({problems})' if problems else '; name some files'}")


def _sections(batches: list[FileBatch], extracted: list[ExtractedBatch], work: Path) -> list[Section]:
    """The text of all batches, in order, in sections of about `TASK_BYTES`."""
    sections: list[Section] = []
    for batch, found in zip(batches, extracted, strict=True):
        ranges = (each for document in found.documents for each in pairwise(document.boundaries))
        for _, group in groupby(ranges, key=lambda each: each[0] // TASK_BYTES):
            sections.append(Section(batch.text, tuple(group), work / f"{len(sections):06}", batch.held_out))
    return sections
