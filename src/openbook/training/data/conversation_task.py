"""Fine-tuning on conversations: learning the next token of each answer, from the conversation before it."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from openbook.progress import Advance, Track, silent
from openbook.training.data.batching import pack, pad, step_indices
from openbook.training.data.tokenization import TokenizedConversations
from openbook.training.evaluation.perplexity import Score, TokenBytes
from openbook.training.group import EVERY
from openbook.training.loss import (
    IGNORE_INDEX,
    Batch,
    forward_backward,
    hidden_states,
    summed_cross_entropy,
    token_cross_entropy,
)
from openbook.training.recipe import Recipe
from openbook.transformer.mask import SHARED_PREFIX
from openbook.transformer.transformer import Transformer

PADDING_DOCUMENT = -1
"""The document that padding belongs to."""

KNOWN = 0.5
"""A token more probable than this is the most probable one, so a greedy answer has it."""
CERTAIN = 0.95
"""A token as probable as this is hardly ever missed by sampling either."""
READINGS_BETWEEN_LOOKS = 3
"""How often all conversations are read before the next look at what is known: it costs a third of a reading."""

Row = NDArray[np.int64]
"""The indices of the conversations that share a row."""


@dataclass(frozen=True)
class PackedConversations:
    """Conversations packed into rows of at most `context` tokens; longer ones are left out.

    The prefix that all of them share, such as the template's own words, is in each row once.
    """

    conversations: TokenizedConversations
    context: int

    @cached_property
    def fitting(self) -> NDArray[np.int64]:
        """The indices of the conversations that are not too long."""
        return np.flatnonzero(self.conversations.lengths - 1 <= self.context)

    @cached_property
    def prefix_length(self) -> int:
        """How many tokens all of them begin with, none of which predicts a token of an answer."""
        prefix: NDArray[np.int64] | None = None
        for ids, answers in map(self._tokens, self.fitting):
            # The token before an answer predicts its first token, so it belongs to the conversation alone.
            most = max(0, (int(np.argmax(answers)) if answers.any() else len(ids)) - 1)
            prefix = ids[:most] if prefix is None else prefix[:most]
            prefix = prefix[np.logical_and.accumulate(prefix == ids[: len(prefix)])]
        return 0 if prefix is None else len(prefix)

    @property
    def _own_lengths(self) -> NDArray[np.int64]:
        """Tokens that each fitting conversation takes in a row besides the prefix; the last is never read."""
        return self.conversations.lengths[self.fitting] - 1 - self.prefix_length

    @cached_property
    def rows(self) -> list[Row]:
        """The conversations of each row."""
        return [self.fitting[row] for row in pack(self._own_lengths, self.context - self.prefix_length)]

    @property
    def tokens(self) -> int:
        """How many tokens all rows have."""
        return int(self._own_lengths.sum()) + self.prefix_length * len(self.rows)

    def batch(self, rows: Sequence[Row], device: torch.device) -> Batch:
        """Some rows. No conversation sees another, and each continues from the shared prefix."""
        ids, labels, documents, positions = zip(*map(self._row, rows), strict=True)
        return Batch(
            None,
            None,
            pad(ids, 0).to(device),
            pad(labels, IGNORE_INDEX).to(device),
            pad(documents, PADDING_DOCUMENT).to(device),
            pad(positions, -1).to(device),
        )

    def _tokens(self, index: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """The tokens of a conversation, and whether each belongs to an answer."""
        return self.conversations[index], self.conversations.answer_mask[self.conversations.span(index)]

    def _row(self, row: Row) -> tuple[NDArray[np.int64], ...]:
        """Token, next token, document and position of each place of a row, all (T,)."""
        prefix = self.prefix_length
        conversations = [self._tokens(index) for index in row]
        lengths = [len(ids) - 1 - prefix for ids, _ in conversations]
        ids = [conversations[0][0][:prefix], *(ids[prefix:-1] for ids, _ in conversations)]
        labels = [np.where(answers, ids, IGNORE_INDEX)[prefix + 1 :] for ids, answers in conversations]
        positions = [np.arange(prefix), *(np.arange(prefix, prefix + length) for length in lengths)]
        return (
            np.concatenate(ids),
            np.concatenate([np.full(prefix, IGNORE_INDEX), *labels]),
            np.repeat([SHARED_PREFIX, *range(len(lengths))], [prefix, *lengths]),
            np.concatenate(positions),
        )


@dataclass(frozen=True)
class ConversationTask:
    """Learns the next token of each answer (see `loop.Task`).

    Args:
        recipe: gives the rows of a step, label smoothing and seed.
        train: the training conversations.
        validation: the held-out conversations.
        device: where the model is.
        dtype: of matrix products.
        token_bytes: the bytes of each token of an answer.
    """

    recipe: Recipe
    train: PackedConversations
    validation: PackedConversations
    device: torch.device
    dtype: torch.dtype
    token_bytes: TokenBytes

    def batches(self, step: int, share: slice = EVERY) -> Iterator[tuple[Batch, int]]:
        """A step's rows, `micro_batch_size` at a time; each epoch visits every row once, in an order of its own."""
        rows = self.train.rows
        _, indices = step_indices(step, self.recipe.batch_size, len(rows), self.recipe.seed)
        for first in range(0, len(indices), self.recipe.micro_batch_size)[share]:
            chosen = indices[first : first + self.recipe.micro_batch_size]
            batch = self.train.batch([rows[index] for index in chosen], self.device)
            yield batch, int((batch.labels != IGNORE_INDEX).sum())

    def forward_backward(self, model: nn.Module, batch: Any, scale: float) -> Tensor:
        """See `forward_backward`."""
        return forward_backward(model, batch, scale, self.recipe.label_smoothing)

    def predicted_bytes(self, batches: Iterable[Batch]) -> tuple[float, int]:
        """See `loop.Task`."""
        return self.token_bytes.of_labels(batch.labels for batch in batches)

    @property
    def validated_fraction(self) -> float:
        """The part of `evaluate`'s rows that `validate` scores."""
        return len(self._some_rows) / len(self._all_rows)

    @cached_property
    def _some_rows(self) -> list[Row]:
        rows = self.validation.rows
        wanted = max(1, self.recipe.validation_tokens // self.recipe.context)
        return rows[:: -(-len(rows) // wanted)]

    @property
    def _all_rows(self) -> list[Row]:
        return self._some_rows if self.validation is self.train else self.validation.rows

    def validate(self, model: nn.Module) -> float:
        """Bits per byte of answers on evenly spread held-out rows, the same ones each time."""
        return self._score(model, self._some_rows).bits_per_byte

    def metrics(self, model: nn.Module) -> dict[str, float]:
        """Where nothing is held out: how many `conversations` there are, and of how many every answer is `known`."""
        if self.validation is not self.train:
            return {}
        least = self.least_probabilities(model)
        return {"known": int((least > KNOWN).sum()), "conversations": len(least)}

    def is_learned(self, model: nn.Module, step: int) -> bool:
        """Whether every answer is known for sure; looked at after every third reading."""
        if step % max(1, READINGS_BETWEEN_LOOKS * len(self.train.rows) // self.recipe.batch_size):
            return False
        return float(self.least_probabilities(model).min()) >= CERTAIN

    @torch.inference_mode()
    def least_probabilities(self, model: nn.Module) -> Tensor:
        """For each training conversation that fits, the probability of the least probable token of its answers."""
        assert isinstance(model, Transformer)
        was_training, least, rows = model.training, [], self.train.rows
        model.eval()
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            for first in range(0, len(rows), self.recipe.micro_batch_size):
                some = rows[first : first + self.recipe.micro_batch_size]
                batch = self.train.batch(some, self.device)
                labelled = batch.labels != IGNORE_INDEX
                losses = token_cross_entropy(model, hidden_states(model, batch)[labelled], batch.labels[labelled])
                assert batch.documents is not None
                # Conversations of all rows, numbered through.
                begins = torch.tensor([0, *(len(row) for row in some)], device=self.device).cumsum(0)
                numbers = (batch.documents + begins[:-1, None])[labelled]
                greatest = torch.zeros(int(begins[-1]), device=self.device)
                least.append((-greatest.scatter_reduce(0, numbers, losses.float(), "amax")).exp().cpu())
        model.train(was_training)
        return torch.cat(least)

    def evaluate(self, model: nn.Module, track: Track = silent, fraction: float = 1.0) -> Score:
        """The score on the held-out conversations, or on some training conversations where none are held out.

        With a fraction less than 1, on so much of them, spread evenly.
        """
        rows = self._all_rows[:: max(1, round(1 / fraction))]
        with track("Scoring the conversations", len(rows)) as advance:
            return self._score(model, rows, advance)

    def _score(self, model: nn.Module, rows: Sequence[Row], advance: Advance = lambda amount: None) -> Score:
        def batches() -> Iterator[Batch]:
            for first in range(0, len(rows), self.recipe.micro_batch_size):
                some = rows[first : first + self.recipe.micro_batch_size]
                yield self.validation.batch(some, self.device)
                advance(len(some))

        conversations, scored = self.validation.conversations, np.concatenate(rows)
        nats, tokens = summed_cross_entropy(model, batches(), self.dtype)
        answer_bytes = int(conversations.answer_bytes[scored].sum())
        return Score.priced(nats, tokens, answer_bytes, conversations.unknown(scored))
