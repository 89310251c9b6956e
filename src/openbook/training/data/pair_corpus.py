"""Files of sentence pairs → training and validation pairs: read, filtered, split by a hash of the source.

The files are read by all cores. The result of each is kept, so an interrupted run does not read it again.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.recfunctions import repack_fields
from numpy.typing import NDArray

from openbook.errors import OpenbookError, SettingError
from openbook.progress import Advance, Track, silent
from openbook.text.corpus.process_pool import run_tasks
from openbook.text.corpus.working_directory import fingerprint_inputs, load_or_make, write_json
from openbook.text.formatting import format_bytes, format_count
from openbook.text.input_files import find_files
from openbook.training.data.pair_files import PairFile, PairReport, clean_pair, find_pair_files, open_pairs
from openbook.training.data.pair_formats import Pair

VERSION = 2
"""Raise it whenever the same files would give other pairs."""

ENOUGH_HELD_OUT = 1000
"""Pairs that are enough to validate with."""

RECORD = np.dtype(
    [("start", "<i8"), ("source", "<u4"), ("target", "<u4"), ("source_hash", "<u8"), ("hash", "<u8"), ("line", "<i8")]
)
"""A pair in its text file: where it starts, the bytes of its sides, hashes of its source and of both, its line."""
INDEX = ["start", "source", "target"]
"""What is kept of a record once the pairs are split."""


@dataclass(frozen=True)
class PairSplit:
    """The training or the validation pairs; their text stays on disk."""

    text: Path
    """Lines of source, tab, target."""
    index: NDArray[Any]
    """[pairs], memory-mapped: where each pair starts, and the bytes of its source and target."""

    def __len__(self) -> int:
        return len(self.index)

    @property
    def source_bytes(self) -> int:
        """UTF-8 bytes of all sources."""
        return int(self.index["source"].sum(dtype=np.int64))

    @property
    def target_bytes(self) -> int:
        """UTF-8 bytes of all targets."""
        return int(self.index["target"].sum(dtype=np.int64))

    def pairs(self, first: int = 0, last: int | None = None) -> Iterator[Pair]:
        """The pairs in order, from one index to before another."""
        with self.text.open("rb") as file:
            for start, source, target in self.index[first:last].tolist():
                file.seek(start)
                line = file.read(source + 1 + target)
                yield Pair(line[:source].decode(), line[source + 1 :].decode())

    def sample(self, limit: int, *, source: bool, target: bool) -> Iterator[str]:
        """One side or both of all pairs, or of evenly spread ones with about `limit` bytes of text."""
        every = max(1, -(-(self.source_bytes + self.target_bytes) // limit))
        for number, pair in enumerate(self.pairs()):
            if number % every == 0:
                if source:
                    yield pair.source
                if target:
                    yield pair.target


@dataclass(frozen=True)
class PairCorpus:
    """What `prepare_pairs` made; `fingerprint` identifies its files and options."""

    folder: Path
    fingerprint: str
    train: PairSplit
    validation: PairSplit
    reports: tuple[PairReport, ...] = field(repr=False)

    def lines(self) -> list[str]:
        """A line about each file and one about the whole, for people."""
        train, held_out = self.train, self.validation
        text_size = format_bytes(train.source_bytes + train.target_bytes)
        train_size, held_out_size = (format_count(len(split), "pair") for split in (train, held_out))
        held_out_size = held_out_size if len(held_out) else "none"
        return [*map(str, self.reports), f"{train_size} to learn from ({text_size}), {held_out_size} held out"]

    def expectations(self) -> str | None:
        """A sentence on what to expect of few pairs; None where there are enough for useful translations."""
        amount = len(self.train)
        for below, expectation in (
            (1_000, "enough to try things out; the model will only memorise them"),
            (20_000, "enough for common phrases; expect few correct translations of new sentences"),
            (100_000, "enough for sentences much like them; expect mistakes in others"),
        ):
            if amount < below:
                return f"{format_count(amount, 'training pair')}: {expectation}."
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
class _ReadFile:
    """A file to read (see `process_pool.Task`): its pairs go to STEM.tsv and STEM.npy, then its report to STEM.json."""

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
    validation_fraction: float | None = None,
    keep_duplicates: bool = False,
    encoding: str | None = None,
    processes: int | None = None,
    track: Track = silent,
) -> PairCorpus:
    """Make a corpus in `folder` from the files that `inputs` name (files, folders, globs), or find it there.

    A fraction of the sources, chosen by their hash, is held out with all their translations: a tenth, or as many as
    make about a thousand pairs. With `validation` files, these are held out instead, and pairs with their sources leave
    the training pairs. Of equal pairs the first is kept.

    Raises:
        OpenbookError: a file cannot be read, two aligned files do not match, or no pair is left.
    """
    if validation_fraction is not None and not 0 <= validation_fraction <= 0.5:
        raise SettingError(f"`validation_fraction` {validation_fraction}: must be from 0 to 0.5 of the pairs")
    groups = [find_pair_files(find_files(paths), encoding) for paths in (inputs, validation or [])]
    paths = [[path for file in files for path in file.paths] for files in groups]
    fingerprint = fingerprint_inputs(paths, VERSION, validation is None, validation_fraction, keep_duplicates, encoding)

    def make(work: Path) -> None:
        tasks = [
            _ReadFile(file, work / f"{held_out:d}-{number:06}", file.size, bool(held_out))
            for held_out in (True, False)
            for number, file in enumerate(groups[held_out])
        ]
        with track("Reading pairs", sum(task.size for task in tasks)) as advance:
            run_tasks(_read, tasks, processes, advance)
        records = _Records.load(tasks)
        if not keep_duplicates:
            records.drop_duplicates()
        held_out = records.hold_out_fraction(validation_fraction) if validation is None else records.hold_out_files()
        _check_not_empty(records, held_out, learns_all=validation is None and validation_fraction == 0)
        _write(folder, fingerprint, tasks, records, held_out)

    return load_or_make(folder, fingerprint, PairCorpus.load, make)


def _read(task: _ReadFile, advance: Advance) -> None:
    """Write the clean pairs of one file, their records, and the report."""
    opened = open_pairs(task.file)
    report = PairReport(task.file.name, unit=opened.unit, notes=opened.notes)
    rows: list[tuple[int, ...]] = []
    parts: list[NDArray[Any]] = []
    place = advanced = 0
    with task.stem.with_suffix(".tsv").open("wb") as output:
        for line, found in opened.pairs:
            report.lines += 1
            pair = clean_pair(found)
            if isinstance(pair, str):
                report.drop(pair, line)
                continue
            source, target = pair.source.encode(), pair.target.encode()
            written = output.write(b"%b\t%b\n" % (source, target))
            rows.append((place, len(source), len(target), _hash(source), _hash(source, target), line))
            place += written
            if len(rows) == 1 << 16:
                parts.append(np.array(rows, RECORD))
                rows = []
                advance(min(place, task.size) - advanced)
                advanced = min(place, task.size)
    parts.append(np.array(rows, RECORD))
    np.save(task.stem.with_suffix(".npy"), np.concatenate(parts), allow_pickle=False)
    advance(task.size - advanced)
    write_json(task.result, asdict(report))


def _hash(*sides: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(b"\t".join(sides), digest_size=8).digest(), "little")


@dataclass
class _Records:
    """The pairs of all files, one behind the other, and what becomes of them."""

    pairs: NDArray[Any]
    """[pairs] of `RECORD`, their starts counted through all files."""
    files: NDArray[np.int64]
    """[pairs]: the number of each one's file."""
    for_validation: NDArray[np.bool_]
    """[pairs]: whether that is a file to validate with."""
    reports: list[PairReport]
    kept: NDArray[np.bool_]
    """[pairs]"""

    @classmethod
    def load(cls, tasks: Sequence[_ReadFile]) -> "_Records":
        """The results of `_read`."""
        tables, start = [np.empty(0, RECORD)], 0
        for task in tasks:
            tables.append(np.load(task.stem.with_suffix(".npy"), allow_pickle=False))
            tables[-1]["start"] += start
            start += task.stem.with_suffix(".tsv").stat().st_size
        pairs = np.concatenate(tables)
        files = np.repeat(np.arange(len(tasks)), [len(table) for table in tables[1:]])
        for_validation = np.array([task.held_out for task in tasks], bool)[files]
        reports = [PairReport(**json.loads(task.result.read_text("utf-8"))) for task in tasks]
        return cls(pairs, files, for_validation, reports, np.ones(len(pairs), bool))

    def _drop(self, chosen: NDArray[np.bool_], reason: str) -> None:
        for file, line in zip(self.files[chosen].tolist(), self.pairs["line"][chosen].tolist(), strict=True):
            self.reports[file].drop(reason, line)
        self.kept &= ~chosen

    def drop_duplicates(self) -> None:
        """Of equal training pairs keep the first. Files to validate with stay as they are."""
        first = np.zeros(len(self.pairs), bool)
        first[np.unique(self.pairs["hash"], return_index=True)[1]] = True
        self._drop(~first & ~self.for_validation, "duplicate")

    def hold_out_files(self) -> NDArray[np.bool_]:
        """[pairs]: those of the files to validate with; training pairs with the same sources are dropped."""
        known = np.isin(self.pairs["source_hash"], self.pairs["source_hash"][self.for_validation])
        self._drop(self.kept & ~self.for_validation & known, "also held out")
        return self.for_validation

    def hold_out_fraction(self, fraction: float | None) -> NDArray[np.bool_]:
        """[pairs]: those of the sources with the smallest hashes, so that no source is on both sides."""
        if fraction == 0:
            return np.zeros(len(self.pairs), bool)
        sources = np.unique(self.pairs["source_hash"][self.kept])
        fraction = min(0.1, ENOUGH_HELD_OUT / max(1, len(sources))) if fraction is None else fraction
        wanted = min(len(sources) - 1, max(1, round(fraction * len(sources))))
        return self.pairs["source_hash"] < sources[wanted] if wanted > 0 else np.zeros(len(self.pairs), bool)


def _write(
    folder: Path, fingerprint: str, tasks: Sequence[_ReadFile], records: _Records, held_out: NDArray[np.bool_]
) -> None:
    """Write the text and the index of both splits and, at last, pairs.json."""
    splits = {"train": records.kept & ~held_out, "validation": records.kept & held_out}
    part = folder / "pairs.tsv.part"
    with part.open("wb") as output:
        for task in tasks:
            with task.stem.with_suffix(".tsv").open("rb") as text:
                shutil.copyfileobj(text, output, 1 << 20)
        total = output.tell()
    for name, chosen in splits.items():
        np.save(folder / f"{name}.npy", repack_fields(records.pairs[INDEX][chosen]), allow_pickle=False)
    part.replace(folder / "pairs.tsv")
    reports = [asdict(report) for report in records.reports]
    write_json(folder / "pairs.json", {"fingerprint": fingerprint, "bytes": total, "reports": reports})


def _check_not_empty(records: _Records, held_out: NDArray[np.bool_], learns_all: bool) -> None:
    """Count what is kept of each file, and refuse a split without pairs."""
    for number, report in enumerate(records.reports):
        report.kept = int((records.kept & (records.files == number)).sum())
    said = "; ".join(map(str, records.reports))
    if not (records.kept & ~held_out).any():
        raise OpenbookError(f"no pairs to train on ({said or 'name some files'})")
    if not learns_all and not (records.kept & held_out).any():
        raise SettingError(
            f"no pairs to validate with ({said}); add pairs, give `validation` a file of them, or "
            "`validation_fraction`=0 to hold none out"
        )
