"""Files of sentence pairs → training and validation pairs: read, filter, split by a hash of the source.

Each file's result is a file, so what is read is not read again after an interruption; all cores take part.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openbook.errors import OpenbookError
from openbook.progress import Advance, Track, silent
from openbook.text.corpus.books import find_books, shown
from openbook.text.corpus.corpus import count, size
from openbook.text.corpus.process_pool import run
from openbook.text.corpus.read_batch import save_json
from openbook.text.corpus.working_directory import mendable, size_and_time, working_folder
from openbook.training.data.pair_files import Pair, PairFile, find_pair_files, read_pairs
from openbook.training.data.pair_filter import PairReport, fit

VERSION = 1
"""Raise it whenever the same files would give other pairs."""

HELD_OUT = 1000
"""Pairs that are enough to validate with."""

DTYPE = np.dtype(
    [("start", "<i8"), ("source", "<u4"), ("target", "<u4"), ("key", "<u8"), ("whole", "<u8"), ("line", "<i8")]
)
"""A pair in its text file: where it starts, the bytes of its sides, hashes of source and whole, its line."""


@dataclass(frozen=True)
class PairSplit:
    """The training or the validation pairs; their text stays on disk."""

    text: Path
    """Lines of source, tab, target."""
    places: NDArray[Any]
    """[pairs] of start, source and target, memory-mapped."""

    def __len__(self) -> int:
        return len(self.places)

    @property
    def source_bytes(self) -> int:
        """UTF-8 bytes of all sources."""
        return int(self.places["source"].sum(dtype=np.int64))

    @property
    def target_bytes(self) -> int:
        """UTF-8 bytes of all targets."""
        return int(self.places["target"].sum(dtype=np.int64))

    def pairs(self, first: int = 0, last: int | None = None) -> Iterator[Pair]:
        """The pairs in order."""
        with self.text.open("rb") as file:
            for start, source, target in self.places[["start", "source", "target"]][first:last].tolist():
                file.seek(start)
                line = file.read(source + 1 + target)
                yield Pair(line[:source].decode(), line[source + 1 :].decode())


@dataclass(frozen=True)
class PairCorpus:
    """What `prepare_pairs` made; `fingerprint` names its files and options."""

    folder: Path
    fingerprint: str
    train: PairSplit
    validation: PairSplit
    reports: tuple[PairReport, ...] = field(repr=False)

    def lines(self) -> list[str]:
        """For people, a line a file and one for the whole."""
        train, held_out = self.train, self.validation
        together = size(train.source_bytes + train.target_bytes)
        whole = f"{count(len(train), 'pair')} to learn from ({together}), {count(len(held_out), 'pair')} held out"
        return [*(report.text() for report in self.reports), whole]

    def expectations(self) -> str | None:
        """What to hope for from few pairs, as a sentence; None where there are enough for useful translations."""
        amount = len(self.train)
        for below, hope in (
            (1_000, "enough to try things out; a model will learn them by heart, no more"),
            (20_000, "enough for common phrases; expect few right translations of new sentences"),
            (100_000, "enough for sentences much like them; expect mistakes in others"),
        ):
            if amount < below:
                return f"{count(amount, 'training pair')}: {hope}."
        return None

    @classmethod
    def load(cls, folder: Path) -> "PairCorpus":
        """Open prepared pairs. Raises OSError, KeyError, TypeError or ValueError where there are none, or half."""
        index = json.loads((folder / "pairs.json").read_text("utf-8"))
        text = folder / "pairs.tsv"
        if text.stat().st_size != index["bytes"]:
            raise ValueError(f"{text} was changed")
        train, validation = (
            PairSplit(text, np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False))
            for name in ("train", "validation")
        )
        reports = tuple(PairReport(**each) for each in index["reports"])
        return cls(folder, index["fingerprint"], train, validation, reports)


@dataclass(frozen=True)
class _Task:
    """One file to read (see `workers.Task`). `stem` names the results: stem.tsv, stem.npy and, at last, stem.json."""

    file: PairFile
    stem: Path
    size: int
    held_out: bool

    @property
    def result(self) -> Path:
        return self.stem.with_suffix(".json")


def prepare_pairs(
    inputs: Sequence[str | Path],
    folder: Path,
    *,
    validation: Sequence[str | Path] | None = None,
    validation_share: float | None = None,
    keep_duplicates: bool = False,
    processes: int | None = None,
    track: Track = silent,
) -> PairCorpus:
    """Make a corpus in `folder` of the files that `inputs` name (files, folders, globs), or find it made already.

    A share of the sources, chosen by their hash, is held out with all their translations: a tenth, or as many as make
    about a thousand pairs. With `validation` files these are held out instead, and their sources leave the training
    pairs. Pairs that occur twice stay once.

    Raises:
        OpenbookError: a file cannot be read, two files do not belong together line by line, or no pair is left.
    """
    if validation_share is not None and not 0 < validation_share <= 0.5:
        raise OpenbookError(f"validation share {validation_share}: must be above 0 and at most 0.5 of the pairs")
    groups = [find_pair_files(find_books(inputs)), find_pair_files(find_books(validation or []))]
    states = [
        [[shown(path.absolute()), *size_and_time(path)] for file in files for path in file.paths] for files in groups
    ]
    content = [VERSION, states, validation is None, validation_share, keep_duplicates]
    fingerprint = hashlib.sha256(json.dumps(content).encode()).hexdigest()
    try:
        found = PairCorpus.load(folder)
        if found.fingerprint == fingerprint:
            return found
    except (OSError, KeyError, TypeError, ValueError):
        pass  # none yet, or half of them
    with mendable(folder):
        work = working_folder(folder, fingerprint)
        tasks = [
            _Task(file, work / f"{held_out:d}-{number:06}", file.size, bool(held_out))
            for held_out in (True, False)
            for number, file in enumerate(groups[held_out])
        ]
        with track("Reading pairs", sum(task.size for task in tasks)) as advance:
            run(_read, tasks, processes, advance)
        _finish(folder, fingerprint, tasks, validation is None, validation_share, keep_duplicates)
        shutil.rmtree(work, ignore_errors=True)
    return PairCorpus.load(folder)


def _read(task: _Task, advance: Advance) -> None:
    """Write the pairs of one file that are fit, their places and hashes, and the report."""
    report = PairReport(task.file.name)
    rows: list[tuple[int, ...]] = []
    parts: list[NDArray[Any]] = []
    place = told = 0
    with task.stem.with_suffix(".tsv").open("wb") as output:
        for line, found in read_pairs(task.file):
            report.lines += 1
            pair = fit(found)
            if isinstance(pair, str):
                report.drop(pair, line)
                continue
            source, target = pair.source.encode(), pair.target.encode()
            written = output.write(b"%b\t%b\n" % (source, target))
            rows.append((place, len(source), len(target), _hash(source), _hash(source, target), line))
            place += written
            if len(rows) == 1 << 16:
                parts.append(np.array(rows, DTYPE))
                rows = []
                advance(min(place, task.size) - told)
                told = min(place, task.size)
    parts.append(np.array(rows, DTYPE))
    np.save(task.stem.with_suffix(".npy"), np.concatenate(parts), allow_pickle=False)
    advance(task.size - told)
    save_json(task.result, asdict(report))


def _hash(*sides: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(b"\t".join(sides), digest_size=8).digest(), "little")


def _finish(
    folder: Path, fingerprint: str, tasks: list[_Task], split: bool, share: float | None, keep_duplicates: bool
) -> None:
    """Put the files' pairs together without duplicates, divide them, and write pairs.json as the last."""
    reports = [PairReport(**json.loads(task.result.read_text("utf-8"))) for task in tasks]
    tables = [np.load(task.stem.with_suffix(".npy"), allow_pickle=False) for task in tasks]
    part, start = folder / "pairs.tsv.part", 0
    with part.open("wb") as output:
        for task, table in zip(tasks, tables, strict=True):
            table["start"] += start
            with task.stem.with_suffix(".tsv").open("rb") as text:
                shutil.copyfileobj(text, output, 1 << 20)
            start = output.tell()
    pairs = np.concatenate(tables) if tables else np.empty(0, DTYPE)
    origin = np.repeat(np.arange(len(tables)), [len(table) for table in tables])
    held_out = np.array([task.held_out for task in tasks], bool)[origin]
    keep = np.ones(len(pairs), bool)
    if not keep_duplicates:
        keep[:] = False
        keep[np.unique(pairs["whole"], return_index=True)[1]] = True  # the first of each
        keep |= held_out  # files to validate with stay as they are
        _drop(reports, pairs, origin, ~keep, "duplicate")
    if split:
        held_out = keep & _chosen(pairs["key"], keep, share)
    else:
        known = keep & ~held_out & np.isin(pairs["key"], pairs["key"][held_out])
        _drop(reports, pairs, origin, known, "also held out")
        keep &= ~known
    for number, report in enumerate(reports):
        report.kept = int((keep & (origin == number)).sum())
    _refuse_nothing(keep & ~held_out, keep & held_out, reports)
    for name, chosen in (("train", keep & ~held_out), ("validation", keep & held_out)):
        np.save(folder / f"{name}.npy", pairs[["start", "source", "target"]][chosen].copy(), allow_pickle=False)
    part.replace(folder / "pairs.tsv")
    index = {"fingerprint": fingerprint, "bytes": start, "reports": [asdict(report) for report in reports]}
    save_json(folder / "pairs.json", index)


def _drop(reports: list[PairReport], pairs: NDArray[Any], origin: NDArray[Any], which: NDArray[Any], why: str) -> None:
    for number, line in zip(origin[which].tolist(), pairs["line"][which].tolist(), strict=True):
        reports[number].drop(why, line)


def _chosen(keys: NDArray[Any], keep: NDArray[Any], share: float | None) -> NDArray[Any]:
    """Which pairs are held out: those of the sources with the smallest hashes. So no source is on both sides."""
    sources = np.unique(keys[keep])
    share = min(0.1, HELD_OUT / max(1, len(sources))) if share is None else share
    wanted = min(len(sources) - 1, max(1, round(share * len(sources))))
    return keys < sources[wanted] if wanted > 0 else np.zeros(len(keys), bool)


def _refuse_nothing(train: NDArray[Any], held_out: NDArray[Any], reports: list[PairReport]) -> None:
    said = "; ".join(report.text() for report in reports)
    if not train.any():
        raise OpenbookError(f"no pairs to train on ({said or 'name some files'})")
    if not held_out.any():
        raise OpenbookError(f"no pairs to validate with ({said}); add pairs, or give --validation a file of them")
