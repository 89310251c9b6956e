"""Arrays on disk that grow a part at a time and survive an interruption: how tokens are kept between runs."""

import json
import os
from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from openbook.text.corpus.working_directory import write_json
from openbook.text.tokenizer.tokenizer import Tokenizer


def token_dtype(tokenizer: Tokenizer) -> np.dtype[np.unsignedinteger[Any]]:
    """uint16 where the vocabulary fits, else uint32."""
    return np.dtype("<u2" if tokenizer.vocab_size <= 1 << 16 else "<u4")


def offsets(lengths: NDArray[Any]) -> NDArray[np.int64]:
    """(n + 1): where each of n sequences that follow one another begins, and the length of them all."""
    return np.concatenate(([0], np.cumsum(lengths, dtype=np.int64)))


def flat(sequences: Iterable[Iterable[int]]) -> NDArray[np.int64]:
    """Sequences one behind the other."""
    return np.fromiter(chain.from_iterable(sequences), np.int64)


class TokenFiles:
    """Arrays that are written a part at a time, and counters of how far the work has come.

    The counters are saved after each part. What a killed run wrote after that is cut off, to be written again.

    Args:
        stem: array NAME is the file STEM.NAME; the counters are in STEM.json.
        identity: names what the arrays are made from; those of another are dropped.
        dtypes: of the arrays, by name.
        counters: their names.

    Attributes:
        counts: the counters.
        sizes: how many numbers each array has.
    """

    def __init__(self, stem: Path, identity: str, dtypes: Mapping[str, DTypeLike], counters: Iterable[str]) -> None:
        self._identity = identity
        self._dtypes = {name: np.dtype(dtype) for name, dtype in dtypes.items()}
        self._paths = {name: stem.with_suffix(f".{name}") for name in dtypes}
        self._state = stem.with_suffix(".json")
        self.counts = dict.fromkeys(counters, 0)
        self.sizes = dict.fromkeys(dtypes, 0)
        self._resume()

    def _resume(self) -> None:
        """Take up the saved state if it is of the same work and the files are whole, and cut them to it."""
        try:
            state = json.loads(self._state.read_text("utf-8"))
            sizes = {name: state["sizes"][name] for name in self.sizes}
            counts = {name: state["counts"][name] for name in self.counts}
            whole = all(path.stat().st_size >= self._bytes(name, sizes) for name, path in self._paths.items())
            if state["identity"] == self._identity and whole:
                self.sizes, self.counts = sizes, counts
        except (OSError, KeyError, TypeError, ValueError):
            pass  # none yet, or damaged
        for name, path in self._paths.items():
            with path.open("ab") as file:
                file.truncate(self._bytes(name, self.sizes))

    def _bytes(self, name: str, sizes: Mapping[str, int]) -> int:
        return int(sizes[name]) * self._dtypes[name].itemsize

    def extend(self, arrays: Mapping[str, NDArray[Any]], counts: Mapping[str, int]) -> None:
        """Append to every array, add to the counters, and save them: the part is now safe from interruption."""
        for name, values in arrays.items():
            self._append(name, values)
        self.sizes = {name: size + len(arrays[name]) for name, size in self.sizes.items()}
        self.counts = {name: count + counts[name] for name, count in self.counts.items()}
        write_json(self._state, {"identity": self._identity, "sizes": self.sizes, "counts": self.counts})

    def _append(self, name: str, values: NDArray[Any]) -> None:
        with self._paths[name].open("ab") as file:
            file.write(values.astype(self._dtypes[name]).tobytes())
            file.flush()
            os.fsync(file.fileno())

    def __getitem__(self, name: str) -> NDArray[Any]:
        """An array, memory-mapped."""
        if not self.sizes[name]:
            return np.empty(0, self._dtypes[name])  # an empty file cannot be mapped
        return np.memmap(self._paths[name], self._dtypes[name], "r")
