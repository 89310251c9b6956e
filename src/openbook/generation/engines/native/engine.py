"""The native engine behind the interface that everything that decodes is written against."""

import weakref
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Self

import numpy as np

from openbook.errors import OpenbookError
from openbook.generation.arrays import FloatArray, IntArray
from openbook.generation.engines.engine import CacheBlock, Continuations, check_sources
from openbook.generation.engines.native.library import address, call, load_library
from openbook.generation.engines.native.program import Weight, compile_program
from openbook.transformer.architecture import Architecture, Stack


class NativeEngine:
    """A model opened by the native library, which packs the weights for this processor. It sees no later changes.

    Args:
        architecture: of the model.
        weights: its tensors, as the model file keeps them.
        threads: how many cores to use; all that the process may use if None.
        kernels: name of the kernels to use (`avx2`, `avx512_vnni` ...); the fastest that the processor runs if None.
        half_cache: keep keys and values in float16, in half the memory.

    Raises:
        OpenbookError: the library was not compiled, or the processor does not run the kernels.
    """

    is_batch_invariant = True
    threads = 1
    """Sessions to run at once: one, since a step of it uses all cores."""

    def __init__(
        self,
        architecture: Architecture,
        weights: Mapping[str, Weight],
        *,
        threads: int | None = None,
        kernels: str | None = None,
        half_cache: bool = False,
    ) -> None:
        library = load_library()
        self.vocab_size, self.context = architecture.vocab_size, architecture.context
        self.source_vocab_size = None
        if architecture.encoder is not None:
            self.source_vocab_size = architecture.source_vocab_size or architecture.vocab_size
        cores = threads or library.openbook_cores()
        self.handle = library.openbook_model((kernels or "").encode(), cores, half_cache)
        if not self.handle:
            raise OpenbookError(f"native engine: {library.openbook_error().decode()}")
        weakref.finalize(self, library.openbook_model_free, self.handle)
        compile_program(self.handle, architecture, weights)
        self.is_split_invariant = not _scales_by_length(architecture.decoder)

    @property
    def kernels(self) -> str:
        """The instruction set in use."""
        name: bytes = load_library().openbook_kernels(self.handle)
        return name.decode()

    def set_cores(self, cores: int | None) -> None:
        """As `Engine.set_cores`: a step uses the cores that the engine was opened with."""

    def check_sources(self, prompts: Sequence[Sequence[int]], sources: Sequence[Sequence[int]] | None) -> None:
        """As `Engine.check_sources`."""
        check_sources(self.source_vocab_size, prompts, sources)

    def prefill(
        self, prompts: Sequence[Sequence[int]], sources: Sequence[Sequence[int]] | None = None
    ) -> tuple["NativeSession", FloatArray]:
        """As `Engine.prefill`."""
        self.check_sources(prompts, sources)
        session = NativeSession(self)
        logits = np.empty((len(prompts), self.vocab_size), dtype=np.float32)
        read = _flat(prompts)
        written = (None, None) if sources is None else _flat(sources)
        call("prefill", session.handle, len(prompts), *read, *written, logits)
        return session, logits

    def restore(self, blocks: Sequence[CacheBlock]) -> "NativeSession":
        """As `Engine.restore`."""
        session, column_bytes = NativeSession(self), load_library().openbook_column_bytes(self.handle)
        arrays = [np.asarray(block) for block in blocks]
        places = np.array([address(each) for each in arrays], dtype=np.uint64)
        columns = np.array([each.nbytes // column_bytes for each in arrays], dtype=np.int32)
        call("restore", session.handle, places, columns, len(arrays))
        return session


class NativeSession:
    """A batch being decoded by a `NativeEngine`. Rows have no padding: each holds its own tokens alone."""

    def __init__(self, engine: NativeEngine) -> None:
        library = load_library()
        self._engine = engine
        self.handle = library.openbook_session(engine.handle)
        weakref.finalize(self, library.openbook_session_free, self.handle)

    @property
    def rows(self) -> int:
        """Number of rows B."""
        return int(load_library().openbook_rows(self.handle))

    @property
    def length(self) -> int:
        """Columns of the longest row."""
        library = load_library()
        return max((library.openbook_length(self.handle, row) for row in range(self.rows)), default=0)

    def step(self, tokens: IntArray) -> FloatArray:
        """As `Session.step`."""
        logits = np.empty((*tokens.shape, self._engine.vocab_size), dtype=np.float32)
        call("step", self.handle, np.ascontiguousarray(tokens), tokens.shape[1], logits)
        return logits

    def extend(self, tokens: Sequence[Sequence[int]], *, every: bool = False) -> FloatArray:
        """Append some tokens to each row; the logits (B, V) after the last of each, or (Σ T, V) after every token."""
        ids, lengths = _flat(tokens)
        logits = np.empty((len(ids) if every else len(tokens), self._engine.vocab_size), dtype=np.float32)
        call("extend", self.handle, ids, lengths, every, logits)
        return logits

    def save(self, row: int, start: int, stop: int) -> CacheBlock:
        """As `Session.save`."""
        block = np.empty((stop - start) * load_library().openbook_column_bytes(self._engine.handle), dtype=np.uint8)
        call("save", self.handle, row, start, stop - start, block)
        return block

    def step_topk(self, tokens: IntArray, log_probs: FloatArray, suppressed: IntArray, count: int) -> Continuations:
        """As `Session.step_topk`."""
        logits, (rows, beams) = self.step(tokens), tokens.shape
        vocab_size = self._engine.vocab_size
        count = min(count, beams * vocab_size)
        best = np.empty((rows, count), dtype=np.float32)
        indices = np.empty((rows, count), dtype=np.int64)
        sums = np.ascontiguousarray(log_probs, dtype=np.float32)
        call("best", self.handle, logits, rows, beams, sums, suppressed, len(suppressed), count, best, indices)
        return Continuations.from_flat(best, indices, vocab_size)

    def branch(self, parents: IntArray) -> None:
        """As `Session.branch`."""
        call("branch", self.handle, np.ascontiguousarray(parents), parents.shape[1])

    def reorder(self, rows: Sequence[int]) -> None:
        """As `Session.reorder`."""
        call("reorder", self.handle, np.array(rows, dtype=np.int64), len(rows))

    def join(self, others: Sequence[Self]) -> None:
        """As `Session.join`."""
        for other in others:
            call("join", self.handle, other.handle)

    def truncate(self, length: int) -> None:
        """As `Session.truncate`."""
        if load_library().openbook_branched(self.handle):
            raise ValueError("the session has branched")
        library, dropped = load_library(), self.length - length
        for row in range(self.rows):
            call("truncate", self.handle, row, library.openbook_length(self.handle, row) - dropped)


def _scales_by_length(stack: Stack) -> bool:
    """Whether rotary angles follow from the length of what a pass reads: pieces of a prompt then differ from it."""
    positions = [stack.position, *(block.position or stack.position for block in stack.blocks)]
    return any(each.rope_scaling is not None and each.rope_scaling.kind == "dynamic" for each in positions)


def _flat(rows: Sequence[Sequence[int]]) -> tuple[IntArray, "np.ndarray[tuple[int], np.dtype[np.int32]]"]:
    """All ids in a row, and the length of each sequence."""
    ids = np.fromiter(chain.from_iterable(rows), dtype=np.int64)
    return ids, np.array([len(row) for row in rows], dtype=np.int32)
