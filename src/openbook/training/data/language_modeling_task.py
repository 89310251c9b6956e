"""Language modelling: learning the next token of every window cut from books."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from openbook.progress import Advance, Track, silent
from openbook.text.tokenizer.bpe_dropout import MergeDropout
from openbook.text.tokenizer.unknown import NOTHING_UNKNOWN, Unknown
from openbook.training.data.batching import step_indices
from openbook.training.data.token_shards import JoinedArray
from openbook.training.evaluation.perplexity import Score, TokenBytes, score_text, sliding_windows
from openbook.training.group import EVERY
from openbook.training.loss import Batch, forward_backward
from openbook.training.recipe import Recipe
from openbook.transformer.transformer import Transformer

TokenIds = NDArray[np.unsignedinteger[Any]] | JoinedArray


@dataclass(frozen=True)
class TokenWindows:
    """Windows of `context` tokens and the one that follows, cut from one long array of tokens.

    Each epoch visits every window once, in an order and from an offset of its own.

    Args:
        tokens: (tokens,) ids.
        context: T, tokens of a window.
        seed: of the order and the offsets.
        merge_dropout: splits some tokens into those that they were merged from, anew each time; None: no token.
        dropout: how likely each merge is undone.
    """

    tokens: TokenIds
    context: int
    seed: int
    merge_dropout: MergeDropout | None = None
    dropout: float = 0.0

    @property
    def per_epoch(self) -> int:
        """How many windows an epoch has, at least 1."""
        return max(1, (len(self.tokens) - 1) // self.context - 1)

    def starts(self, step: int, batch_size: int) -> NDArray[np.int64]:
        """(batch_size,): where the windows of a step begin."""
        epochs, indices = step_indices(step, batch_size, self.per_epoch, self.seed)
        starts = indices * self.context
        left_over = len(self.tokens) - 1 - self.context * self.per_epoch
        for epoch in np.unique(epochs):
            random = np.random.default_rng([self.seed, int(epoch)])
            starts[epochs == epoch] += random.integers(0, max(1, left_over + 1))
        return starts

    def cut(self, starts: NDArray[np.int64], step: int) -> tuple[Tensor, NDArray[np.int64]]:
        """The windows that begin at `starts` (B,): their ids and the index of each token, both (B, T + 1).

        The step seeds the merge dropout.
        """
        length = min(self.context + 1, len(self.tokens))
        indices = starts[:, None] + np.arange(length)
        ids = self.tokens[indices].astype(np.int64)
        if self.merge_dropout is not None:
            random = np.random.default_rng([self.seed, step, *starts])
            ids, columns = self.merge_dropout.apply(ids, self.dropout, random)
            indices = starts[:, None] + columns
        return torch.from_numpy(ids), indices


def documents_at(indices: NDArray[np.int64], document_starts: NDArray[np.int64]) -> Tensor:
    """(B, T): the number of the document that the token at each index (B, T) belongs to."""
    return torch.from_numpy(np.searchsorted(document_starts, indices, side="right"))


@dataclass(frozen=True)
class LanguageModelingTask:
    """Learns the next token of every window of books (see `loop.Task`).

    Args:
        recipe: gives context, batch size, dropout of merges and seed.
        train: (tokens,) the training tokens.
        validation: (tokens,) the held-out tokens, beginning with an end-of-text token.
        validation_bytes: bytes of the held-out text.
        document_starts: where documents begin among the training tokens, for the document mask.
        device: where the model is.
        dtype: of matrix products.
        train_token_bytes: the bytes of each training token.
        token_bytes: the bytes of each held-out token.
        unknown: how much of the held-out text is unknown.
        merge_dropout: undoes merges of the training tokens, as often as the recipe says; None: never.
    """

    recipe: Recipe
    train: TokenIds
    validation: NDArray[np.unsignedinteger[Any]]
    validation_bytes: int
    document_starts: NDArray[np.int64]
    device: torch.device
    dtype: torch.dtype
    train_token_bytes: TokenBytes
    token_bytes: TokenBytes
    unknown: Unknown = NOTHING_UNKNOWN
    merge_dropout: MergeDropout | None = None

    def batches(self, step: int, share: slice = EVERY) -> Iterator[tuple[Batch, int]]:
        """A step's windows, `micro_batch_size` at a time."""
        recipe = self.recipe
        windows = TokenWindows(self.train, recipe.context, recipe.seed, self.merge_dropout, recipe.bpe_dropout)
        starts = windows.starts(step, recipe.batch_size)
        for first in range(0, len(starts), recipe.micro_batch_size)[share]:
            ids, indices = windows.cut(starts[first : first + recipe.micro_batch_size], step)
            ids = ids.to(self.device)
            documents = None
            if recipe.document_mask:
                documents = documents_at(indices[:, :-1], self.document_starts).to(self.device)
            yield Batch(None, None, ids[:, :-1], ids[:, 1:], documents), ids[:, 1:].numel()

    def forward_backward(self, model: nn.Module, batch: Any, scale: float) -> Tensor:
        """See `forward_backward`."""
        return forward_backward(model, batch, scale)

    def predicted_bytes(self, batches: Iterable[Batch]) -> tuple[float, int]:
        """See `loop.Task`."""
        return self.train_token_bytes.of_labels(batch.labels for batch in batches)

    @property
    def validated_fraction(self) -> float:
        """The part of the held-out tokens that `validate` scores."""
        return min(1.0, self._windows * self.recipe.context / max(1, len(self.validation) - 1))

    @property
    def _windows(self) -> int:
        """How many windows `validate` scores."""
        return max(1, self.recipe.validation_tokens // self.recipe.context)

    def validate(self, model: nn.Module) -> float:
        """Bits per byte on windows spread evenly over the held-out text, the same ones each time."""
        return self.evaluate(model, fraction=self.validated_fraction).bits_per_byte

    def metrics(self, model: nn.Module) -> dict[str, float]:
        """Nothing: bits per byte say it all."""
        return {}

    def is_learned(self, model: nn.Module, step: int) -> bool:
        """Never: what is held out can always be predicted better."""
        return False

    def evaluate(self, model: nn.Module, track: Track = silent, fraction: float = 1.0) -> Score:
        """The score on the held-out text, or on windows spread evenly over it that are this fraction of it."""
        tokens, context = len(self.validation) - 1, self.recipe.context
        count = max(1, round(fraction * tokens / context))
        if fraction < 1 and count * context < tokens:
            starts = np.linspace(0, tokens - context, count, dtype=np.int64)
            windows = iter([(int(start), int(start) + 1) for start in starts])
            text_bytes, unknown = self._of_windows(starts)
            tokens = count * context
        else:
            length, text_bytes, unknown = min(context, tokens), self.validation_bytes, self.unknown
            windows = sliding_windows(tokens + 1, length, stride=length)
        with track("Scoring the held-out text", tokens) as advance:
            return self._score(model, windows, text_bytes, unknown, advance)

    def _of_windows(self, starts: NDArray[np.int64]) -> tuple[int, Unknown]:
        """The bytes of text that these windows predict, and what of it is unknown."""
        ids = self.validation[starts[:, None] + np.arange(1, self.recipe.context + 1)]
        share = self.token_bytes.of(ids) / max(1.0, self._token_bytes)
        return round(self.validation_bytes * share), self.token_bytes.unknown(ids)

    @cached_property
    def _token_bytes(self) -> float:
        """Of all held-out tokens."""
        return self.token_bytes.of(self.validation)

    def _score(
        self,
        model: nn.Module,
        windows: Iterator[tuple[int, int]],
        text_bytes: int,
        unknown: Unknown,
        advance: Advance = lambda amount: None,
    ) -> Score:
        assert isinstance(model, Transformer)
        return score_text(
            model,
            self.validation,
            text_bytes,
            windows,
            context=self.recipe.context,
            rows=self.recipe.micro_batch_size,
            dtype=self.dtype,
            unknown=unknown,
            advance=advance,
        )
