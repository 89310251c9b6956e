"""Books → a corpus: read, remove duplicates, split. Streams, uses all cores, and resumes where it was interrupted.

Each stage leaves its results in a working directory: files for each batch of books and for each section of text.
A result that exists is not made again. When the corpus is complete the working directory is removed.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise
from pathlib import Path

from openbook.errors import OpenbookError, SettingError
from openbook.progress import Advance, Track, silent
from openbook.text.corpus.corpus import Corpus
from openbook.text.corpus.deduplication.duplicates import label_duplicates
from openbook.text.corpus.deduplication.sections import Section, fingerprint_section
from openbook.text.corpus.extraction import ExtractedBatch, FileBatch, extract_batch
from openbook.text.corpus.pieces import (
    FileInPieces,
    LargeFile,
    Piece,
    extract_piece,
    find_pieces,
    is_large,
    join_pieces,
)
from openbook.text.corpus.process_pool import run_tasks
from openbook.text.corpus.readers.encodings import named_encoding
from openbook.text.corpus.working_directory import fingerprint_inputs, load_or_make, size_and_mtime
from openbook.text.corpus.write_corpus import write_corpus
from openbook.text.input_files import find_files

VERSION = 4
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
    books, held_out = find_files(inputs), find_files(validation or [])
    encoding = None if encoding is None else named_encoding(encoding)
    fingerprint = fingerprint_books(
        inputs,
        validation=validation,
        validation_fraction=validation_fraction,
        keep_duplicates=keep_duplicates,
        encoding=encoding,
    )

    def make(work: Path) -> None:
        batches = [*_batches(held_out, work, "validation", encoding), *_batches(books, work, "training", encoding)]
        _extract(batches, processes, track)
        extracted = [ExtractedBatch.load(batch.result) for batch in batches]
        _require_text(extracted, validation is not None)
        sections = [] if keep_duplicates else _sections(batches, extracted, work)
        with track("Looking for duplicates", sum(section.size for section in sections)) as advance:
            run_tasks(fingerprint_section, sections, processes, advance)
        labels = label_duplicates(sections, work, processes, track)
        share = 0.0 if validation is not None else validation_fraction
        write_corpus(folder, fingerprint, list(zip(batches, extracted, strict=True)), sections, labels, share, track)

    return load_or_make(folder, fingerprint, Corpus.load, make)


def fingerprint_books(
    inputs: Sequence[str | Path],
    *,
    validation: Sequence[str | Path] | None = None,
    validation_fraction: float | None = None,
    keep_duplicates: bool = False,
    encoding: str | None = None,
) -> str:
    """The fingerprint of the corpus that `prepare` makes of the same arguments.

    Raises:
        OpenbookError: an argument is out of range, or names nothing.
    """
    if validation_fraction is not None and not 0 <= validation_fraction <= 0.5:
        raise SettingError(f"`validation_fraction` {validation_fraction}: must be from 0 to 0.5 of the text")
    codec = None if encoding is None else named_encoding(encoding)
    options = (VERSION, TASK_BYTES, validation is None, validation_fraction, keep_duplicates, codec)
    return fingerprint_inputs((find_files(inputs), find_files(validation or [])), *options)


def _batches(paths: list[Path], work: Path, name: str, encoding: str | None) -> Iterator[FileBatch]:
    """Batches of consecutive files with about `TASK_BYTES` together; a larger file is a batch by itself."""
    groups: list[list[Path]] = []
    total = TASK_BYTES
    for path in paths:
        size = size_and_mtime(path)[0]
        if total >= TASK_BYTES or size >= TASK_BYTES:
            groups.append([])
            total = 0
        groups[-1].append(path)
        total += size
    for number, group in enumerate(groups):
        size = sum(size_and_mtime(path)[0] for path in group)
        yield FileBatch(tuple(group), work / f"{name}-{number:06}", size, name == "validation", encoding)


def _extract(batches: list[FileBatch], processes: int | None, track: Track) -> None:
    """Extract the text of all batches; large files in pieces."""
    large = [LargeFile(batch) for batch in batches if not batch.result.exists() and is_large(batch)]
    with track("Reading books", sum(batch.size for batch in batches)) as advance:
        run_tasks(find_pieces, large, processes, lambda amount: None)
        cut = {file.batch.stem: FileInPieces(file.batch) for file in large if len(file.pieces()) > 1}
        parts: list[FileBatch | Piece] = [batch for batch in batches if batch.stem not in cut]
        parts += [piece for file in cut.values() for piece in file.pieces()]
        run_tasks(_extract_part, parts, processes, advance)
        run_tasks(join_pieces, cut.values(), processes, lambda amount: None)


def _extract_part(part: FileBatch | Piece, advance: Advance) -> None:
    if isinstance(part, Piece):
        extract_piece(part, advance)
    else:
        extract_batch(part, advance)


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
