"""What there is to learn from books: the next token of every window."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from openbook.progress import Advance, Track, silent
from openbook.text.tokenizer.bpe_dropout import MergeDropout
from openbook.training.chunked_loss import Batch, learn_next
from openbook.training.data.windows import Tokens, Windows, documents_at
from openbook.training.evaluation import Score, score
from openbook.training.recipe import Recipe
from openbook.transformer.transformer import Transformer


@dataclass(frozen=True)
class Books:
    """The training task for books (see `loop.Task`).

    Args:
        recipe: gives context, rows and seed.
        train: the training tokens in a row.
        validation: the held-out tokens in a row, beginning with an end-of-text token.
        validation_bytes: bytes of the held-out text.
        document_starts: where documents begin among the training tokens, for the document mask.
        device: where the model is.
        dtype: of matrix products.
        joins: undoes joins of the training tokens, as often as the recipe says; None: never.
    """

    recipe: Recipe
    train: Tokens
    validation: Tokens
    validation_bytes: int
    document_starts: NDArray[np.int64]
    device: torch.device
    dtype: torch.dtype
    joins: MergeDropout | None = None

    def batches(self, step: int) -> Iterator[tuple[Batch, int]]:
        """A step's windows, `micro_batch_size` at a time."""
        windows = Windows(self.train, self.recipe.context, self.recipe.seed, self.joins, self.recipe.bpe_dropout)
        starts = windows.starts(step, self.recipe.rows)
        for first in range(0, len(starts), self.recipe.micro_batch_size):
            some = starts[first : first + self.recipe.micro_batch_size]
            ids, places = windows.at(some, step)
            ids = ids.to(self.device)
            documents = None
            if self.recipe.document_mask:
                documents = documents_at(places[:, :-1], self.document_starts).to(self.device)
            yield Batch(None, None, ids[:, :-1], ids[:, 1:], documents), ids[:, 1:].numel()

    def learn(self, model: nn.Module, batch: Any, share: float) -> Tensor:
        """See `learn_next`."""
        return learn_next(model, batch, share)

    @property
    def validated_share(self) -> float:
        """The part of the held-out tokens that `validate` scores."""
        return min(1.0, self._windows * self.recipe.context / max(1, len(self.validation) - 1))

    @property
    def _windows(self) -> int:
        return max(1, self.recipe.validation_tokens // self.recipe.context)

    def validate(self, model: nn.Module) -> float:
        """Bits a byte on windows spread evenly over the held-out text, always the same."""
        assert isinstance(model, Transformer)
        if self.validated_share == 1:
            return self.final_score(model).bits_a_byte
        starts = np.linspace(0, len(self.validation) - 1 - self.recipe.context, self._windows, dtype=np.int64)
        windows = ((int(start), int(start) + 1) for start in starts)
        return self._score(model, round(self.validation_bytes * self.validated_share), windows).bits_a_byte

    def describe(self, model: nn.Module) -> dict[str, float]:
        """Bits a byte say it all."""
        return {}

    def final_score(self, model: nn.Module, track: Track = silent) -> Score:
        """The score on all of the held-out text."""
        assert isinstance(model, Transformer)
        with track("Scoring the held-out text", len(self.validation)) as advance:
            return self._score(model, self.validation_bytes, None, advance)

    def _score(
        self,
        model: Transformer,
        text_bytes: int,
        windows: Iterator[tuple[int, int]] | None,
        advance: Advance | None = None,
    ) -> Score:
        return score(
            model,
            self.validation,
            text_bytes,
            context=self.recipe.context,
            windows=windows,
            rows=self.recipe.micro_batch_size,
            dtype=self.dtype,
            advance=advance,
        )
