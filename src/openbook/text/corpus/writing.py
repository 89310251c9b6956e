"""The last stage of preparation: text without its duplicates → training and validation files, index and report."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from openbook.progress import Track
from openbook.text.corpus.corpus import FileReport, Report
from openbook.text.corpus.duplicates import EXACT, KEPT, NEAR, STEPS, Marks, mark_duplicates
from openbook.text.corpus.minhash import Section
from openbook.text.corpus.read_batch import Batch, Facts, save_json
from openbook.text.corpus.splitting import Remains, SplitWriter, place_cuts, without


def finish(
    folder: Path,
    fingerprint: str,
    batches: list[Batch],
    facts: list[Facts],
    sections: list[Section],
    share: float | None,
    track: Track,
) -> None:
    """Write train.txt, validation.txt, report.json and, as the last, corpus.json."""
    marks = np.zeros(sum(section.passages for section in sections), np.uint8)
    with track("Comparing passages", STEPS) as advance:
        if len(marks):
            mark_duplicates(sections, marks, advance)
    problems = [problem for each in facts for problem in each.problems]
    remains = list(_remains(batches, facts, sections, marks, problems))

    training = [each for each in remains if not each.document.held_out]
    total = sum(each.bytes for each in training)
    cuts = iter(place_cuts(training, choose_share(total) if share is None else share))
    files = []
    train_path, validation_path = folder / "train.txt", folder / "validation.txt"
    train_part, validation_part = folder / "train.txt.part", folder / "validation.txt.part"
    with (
        track("Writing the corpus", sum(each.bytes for each in remains)) as advance,
        train_part.open("wb") as train_file,
        validation_part.open("wb") as validation_file,
    ):
        train, validation = SplitWriter(train_file), SplitWriter(validation_file)
        for each in remains:
            document = each.document
            cut = document.start if document.held_out else next(cuts)
            written = train.add(each, document.start, cut) + validation.add(each, cut, document.end)
            advance(written)
            files.append(
                FileReport(
                    document.source,
                    document.encoding,
                    document.bytes_read,
                    written,
                    len(document.chapters),
                    document.stripped,
                )
            )
        index = {"fingerprint": fingerprint, "train": train.index(), "validation": validation.index()}
    train_part.replace(train_path)
    validation_part.replace(validation_path)
    save_json(folder / "report.json", dataclasses.asdict(_report(tuple(files), problems, sections, marks)))
    save_json(folder / "corpus.json", index)


def choose_share(text_bytes: int) -> float:
    """How much to hold out: a tenth of little text, a twentieth of more, 10 MB of very much."""
    if text_bytes < 2_000_000:
        return 0.1
    return min(0.05, 10_000_000 / text_bytes)


def _remains(
    batches: list[Batch], facts: list[Facts], sections: list[Section], marks: Marks, problems: list[str]
) -> Iterator[Remains]:
    """All documents with what is kept of them; those of which no passage is kept are left out as copies of others."""
    first = 0
    waiting = iter(sections)
    section = next(waiting, None)
    for batch, each in zip(batches, facts, strict=True):
        all_places, all_marks = [np.empty((0, 2), np.int64)], [np.empty(0, np.uint8)]
        while section is not None and section.text == batch.text:
            all_places.append(section.places())
            all_marks.append(marks[first : first + section.passages])
            first += section.passages
            section = next(waiting, None)
        places, found = np.concatenate(all_places), np.concatenate(all_marks)
        for document in each.documents:
            low, high = np.searchsorted(places[:, 0], [document.start, document.end])
            removed = places[low:high][found[low:high] != KEPT]
            if low < high and len(removed) == high - low:
                problems.append(f"{document.source}: every passage of it occurs in other files; left out as a copy")
            else:
                yield Remains(batch.text, document, without(document, removed))


def _report(files: tuple[FileReport, ...], problems: list[str], sections: list[Section], marks: Marks) -> Report:
    amounts = {EXACT: 0, NEAR: 0}
    first = 0
    for section in sections:
        lengths = section.places() @ np.array([-1, 1])
        for kind in amounts:
            amounts[kind] += int(lengths[marks[first : first + len(lengths)] == kind].sum())
        first += len(lengths)
    exact, near = int((marks == EXACT).sum()), int((marks == NEAR).sum())
    return Report(files, tuple(problems), exact, amounts[EXACT], near, amounts[NEAR])
