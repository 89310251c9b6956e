"""The last stage of preparation: text without its duplicates → training and validation files, index and report."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from openbook.progress import Track
from openbook.text.corpus.deduplication.duplicates import Duplicate, Labels
from openbook.text.corpus.deduplication.sections import Section
from openbook.text.corpus.extraction import ExtractedBatch, FileBatch
from openbook.text.corpus.report import FileReport, Report
from openbook.text.corpus.splitting import (
    DeduplicatedDocument,
    choose_split_offsets,
    choose_validation_fraction,
    subtract_ranges,
)
from openbook.text.corpus.working_directory import write_json

COPY_BLOCK = 1 << 20


def write_corpus(
    folder: Path,
    fingerprint: str,
    batches: list[tuple[FileBatch, ExtractedBatch]],
    sections: list[Section],
    labels: Labels,
    share: float | None,
    track: Track,
) -> None:
    """Write train.txt, validation.txt, report.json and, last, corpus.json.

    Args:
        folder: exists already.
        fingerprint: of the corpus.
        batches: all of them with their results.
        sections: with their fingerprints on disk; none keeps duplicates.
        labels: of all passages of the sections.
        share: how much to hold out; None: what suits the amount of text.
        track: shows progress.
    """
    problems = [problem for _, extracted in batches for problem in extracted.problems]
    documents = list(_deduplicate(batches, sections, labels, problems))
    files, splits = _write_splits(folder, documents, share, track)
    write_json(folder / "report.json", dataclasses.asdict(_report(files, problems, sections, labels)))
    write_json(folder / "corpus.json", {"fingerprint": fingerprint, **splits})


def _write_splits(
    folder: Path, documents: list[DeduplicatedDocument], share: float | None, track: Track
) -> tuple[tuple[FileReport, ...], dict[str, Any]]:
    """Write both text files; a report for each document, and the index of each split."""
    training = [each for each in documents if not each.document.held_out]
    total = sum(each.bytes for each in training)
    offsets = iter(choose_split_offsets(training, choose_validation_fraction(total) if share is None else share))
    files = []
    train_part, validation_part = folder / "train.txt.part", folder / "validation.txt.part"
    with (
        track("Writing the corpus", sum(each.bytes for each in documents)) as advance,
        train_part.open("wb") as train_file,
        validation_part.open("wb") as validation_file,
    ):
        train, validation = _SplitWriter(train_file), _SplitWriter(validation_file)
        for each in documents:
            document = each.document
            offset = document.start if document.held_out else next(offsets)
            written = train.add(each, document.start, offset) + validation.add(each, offset, document.end)
            advance(written)
            files.append(
                FileReport(
                    document.source,
                    document.encoding,
                    document.bytes_read,
                    written,
                    len(document.chapters),
                    document.gutenberg_characters,
                    document.guess,
                    document.replaced_characters,
                    tuple(document.notes),
                )
            )
        splits = {"train": train.index(), "validation": validation.index()}
    train_part.replace(folder / "train.txt")
    validation_part.replace(folder / "validation.txt")
    return tuple(files), splits


class _SplitWriter:
    """Writes the text of one split and collects the index that `Corpus.load` reads."""

    def __init__(self, output: IO[bytes]) -> None:
        self._output = output
        self._documents: list[tuple[str, int, int, list[tuple[int, str]]]] = []

    def add(self, kept: DeduplicatedDocument, start: int, end: int) -> int:
        """Append what is kept of a document between two offsets; returns how many bytes that is."""
        base = self._output.tell()
        with kept.text.open("rb") as file:
            for first, last in np.clip(kept.kept, start, end).tolist():
                file.seek(first)
                while first < last:
                    first += self._output.write(file.read(min(COPY_BLOCK, last - first)))
        length = self._output.tell() - base
        if length:
            chapters = _chapters(kept, start, end, base - kept.bytes_before(start))
            self._documents.append((kept.document.source, base, base + length, chapters))
        return length

    def index(self) -> dict[str, Any]:
        return {"bytes": self._output.tell(), "documents": self._documents}


def _chapters(kept: DeduplicatedDocument, start: int, end: int, shift: int) -> list[tuple[int, str]]:
    """(offset in the split, title) of each chapter between two offsets of which anything is kept."""
    found: dict[int, str] = {}
    stop = kept.bytes_before(end)
    for chapter in kept.document.chapters:
        if chapter.start < end and (before := kept.bytes_before(max(chapter.start, start))) < stop:
            found[before + shift] = chapter.title  # of several at one offset, all but the last are empty
    return list(found.items())


def _deduplicate(
    batches: list[tuple[FileBatch, ExtractedBatch]], sections: list[Section], labels: Labels, problems: list[str]
) -> Iterator[DeduplicatedDocument]:
    """All documents with what is kept of them; a document of which no passage is kept becomes a problem.

    Memory grows with the passages that are removed, not with all.
    """
    first = 0
    waiting = iter(sections)
    section = next(waiting, None)
    for batch, extracted in batches:
        starts = np.array([document.start for document in extracted.documents], np.int64)
        passages, kept = np.zeros(len(starts), np.int64), np.zeros(len(starts), np.int64)
        removed = [np.empty((0, 2), np.int64)]
        while section is not None and section.text == batch.text:
            ranges, alike = section.arrays.ranges(), labels[first : first + section.passages] != Duplicate.NONE
            document_of = np.searchsorted(starts, ranges[:, 0], side="right") - 1
            passages += np.bincount(document_of, minlength=len(starts))
            kept += np.bincount(document_of[~alike], minlength=len(starts))
            removed.append(ranges[alike])
            first += section.passages
            section = next(waiting, None)
        all_removed = np.concatenate(removed)
        for document, found, remaining in zip(extracted.documents, passages, kept, strict=True):
            if found and not remaining:
                problems.append(f"{document.source}: every passage of it occurs in other files; left out as a copy")
                continue
            low, high = np.searchsorted(all_removed[:, 0], [document.start, document.end])
            yield DeduplicatedDocument(batch.text, document, subtract_ranges(document, all_removed[low:high]))


def _report(files: tuple[FileReport, ...], problems: list[str], sections: list[Section], labels: Labels) -> Report:
    amounts = {Duplicate.EXACT: 0, Duplicate.NEAR: 0}
    first = 0
    for section in sections:
        lengths = section.arrays.ranges() @ np.array([-1, 1])
        for kind in amounts:
            amounts[kind] += int(lengths[labels[first : first + len(lengths)] == kind].sum())
        first += len(lengths)
    exact, near = (int((labels == kind).sum()) for kind in (Duplicate.EXACT, Duplicate.NEAR))
    return Report(files, tuple(problems), exact, amounts[Duplicate.EXACT], near, amounts[Duplicate.NEAR])
