"""The interface of engines: token ids in, logits out. Whatever decodes is written against it and knows no text.

    session, logits = engine.prefill(prompts)
    while ...:
        logits = session.step(tokens)

Everything that goes in and comes out is a NumPy array, so decoding knows no PyTorch.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol, Self

from openbook.errors import OpenbookError
from openbook.generation.arrays import FloatArray, IntArray

BLOCK_TOKENS = 16
"""Tokens that are saved and restored together: native code copies so many in one piece."""


class Continuations(NamedTuple):
    """The best next tokens of all beams of a row, best first; each array is (B, C).

    `log_probs` are Σ log p of the longer sequences, `parents` the beams they continue, `tokens` what they add.
    """

    log_probs: FloatArray
    parents: IntArray
    tokens: IntArray

    @classmethod
    def from_flat(cls, log_probs: FloatArray, indices: IntArray, vocab_size: int) -> "Continuations":
        """From indices into the flattened (W, V) of each row."""
        return cls(log_probs, indices // vocab_size, indices % vocab_size)


class CacheBlock(Protocol):
    """A copy of the keys and values of a few tokens that stand next to each other, as an engine lays them out."""

    @property
    def nbytes(self) -> int:
        """Bytes of memory that it takes."""
        ...


class Session(Protocol):
    """A batch of B sequences being decoded. Its columns are tokens; shorter prompts are padded on the left.

    Each row has one beam until `branch` gives it W.
    """

    @property
    def length(self) -> int:
        """Number of columns."""
        ...

    def step(self, tokens: IntArray) -> FloatArray:
        """Append a token to each beam, ids (B, W); return the logits (B, W, V) of the next."""
        ...

    def extend(self, tokens: Sequence[Sequence[int]], *, every: bool = False) -> FloatArray:
        """Append the next tokens of each row, at least one, such as another piece of a prompt.

        Returns:
            the logits after the last of each row, (B, V), or after `every` token, (Σ T, V), row by row.

        Raises:
            ValueError: the session has branched.
        """
        ...

    def save(self, row: int, start: int, stop: int) -> CacheBlock:
        """A copy of what the row keeps of its own tokens from `start` to `stop`, multiples of `BLOCK_TOKENS`.

        Raises:
            ValueError: the session has branched, or looks at sources.
        """
        ...

    def step_topk(self, tokens: IntArray, log_probs: FloatArray, suppressed: IntArray, count: int) -> Continuations:
        """Append tokens as `step` does; return the best continuations, see `topk.best_continuations`."""
        ...

    def branch(self, parents: IntArray) -> None:
        """Beam i of each row now continues what was its beam parents (B, W)[i]. Copies and computes nothing."""
        ...

    def reorder(self, rows: Sequence[int]) -> None:
        """Row i becomes what row rows[i] was, with its beams. Rows may repeat, be fewer (finished) or more."""
        ...

    def join(self, others: Sequence[Self]) -> None:
        """Append the rows of other sessions of the same engine, which must not be used again.

        All have branched into the same number of beams, or none has.
        """
        ...

    def truncate(self, length: int) -> None:
        """Keep the first `length` columns, at least 1; the next step continues there.

        Raises:
            ValueError: the session has branched.
        """
        ...


class Engine(Protocol):
    """A model opened for decoding. Any number of sessions may run at once."""

    @property
    def vocab_size(self) -> int:
        """Number V of tokens that it predicts."""
        ...

    @property
    def context(self) -> int:
        """Most tokens of a row."""
        ...

    @property
    def is_batch_invariant(self) -> bool:
        """Whether a row's numbers are the same to the bit alone and in any batch."""
        ...

    @property
    def is_split_invariant(self) -> bool:
        """Whether they are so too where its prompt is read in pieces, or restored from blocks."""
        ...

    @property
    def threads(self) -> int:
        """How many sessions to run at once, each on its own thread, for most speed."""
        ...

    def set_cores(self, cores: int | None) -> None:
        """How many cores a pass on this thread may use; None: as many as when the engine was opened."""
        ...

    @property
    def source_vocab_size(self) -> int | None:
        """Number of source tokens; None for a decoder-only model."""
        ...

    def check_sources(self, prompts: Sequence[Sequence[int]], sources: Sequence[Sequence[int]] | None) -> None:
        """Raise OpenbookError if sources are missing, or given to a decoder-only model."""
        ...

    def prefill(
        self, prompts: Sequence[Sequence[int]], sources: Sequence[Sequence[int]] | None = None
    ) -> tuple[Session, FloatArray]:
        """Start a session; return it with the logits (B, V) of the token after each prompt.

        Args:
            prompts: token ids, each from 1 to `context` long.
            sources: for an encoder-decoder, the source of each prompt, likewise; the encoder reads it once.

        Raises:
            OpenbookError: sources are missing, or given to a decoder-only model.
        """
        ...

    def restore(self, blocks: Sequence[CacheBlock]) -> Session:
        """A session of one row that has read the tokens of these blocks, which a decoder-only model's sessions saved.

        The first block starts with the row's first token, and each follows the one before it.
        """
        ...


def check_sources(
    source_vocab_size: int | None, prompts: Sequence[Sequence[int]], sources: Sequence[Sequence[int]] | None
) -> None:
    """See `Engine.check_sources`; `source_vocab_size` is None for a decoder-only model."""
    if source_vocab_size is None:
        if sources is not None:
            raise OpenbookError("this model is decoder-only: it reads no sources")
    elif sources is None:
        raise OpenbookError("this model is an encoder-decoder: it needs a source to each prompt")
    elif len(sources) != len(prompts) or not all(sources):
        raise OpenbookError("each prompt needs a source of at least one token")
