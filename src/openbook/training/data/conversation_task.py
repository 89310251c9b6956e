"""What there is to learn from conversations: each next token of the answers, from the conversation before it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from openbook.progress import Advance, Track, silent
from openbook.training.chunked_loss import NOTHING, Batch, learn_next, surprise
from openbook.training.data.conversation_tokens import TokenConversations
from openbook.training.data.packing import pack
from openbook.training.data.pair_batches import padded
from openbook.training.data.windows import visited
from openbook.training.evaluation import Score
from openbook.training.recipe import Recipe
from openbook.transformer.mask import SHARED

NO_CONVERSATION = -1
"""The document that padding belongs to."""


@dataclass(frozen=True)
class ConversationRows:
    """Conversations packed into rows of at most `context` tokens; longer ones are left out.

    What all of them begin with, such as the template's own words, stands in a row once.
    """

    conversations: TokenConversations
    context: int

    @cached_property
    def fitting(self) -> NDArray[np.int64]:
        """The numbers of the conversations that are not too long."""
        return np.flatnonzero(self.conversations.lengths - 1 <= self.context)

    @cached_property
    def shared(self) -> int:
        """How many tokens all of them begin with, from which nothing is to be told yet."""
        shared: NDArray[np.int64] | None = None
        for ids, answers in map(self._part, self.fitting):
            # The token before the first of an answer tells it, and is each conversation's own.
            own = max(0, (int(np.argmax(answers)) if answers.any() else len(ids)) - 1)
            shared = ids[:own] if shared is None else shared[:own]
            shared = shared[np.logical_and.accumulate(shared == ids[: len(shared)])]
        return 0 if shared is None else len(shared)

    @cached_property
    def packs(self) -> list[NDArray[np.int64]]:
        """The numbers of the conversations of each row."""
        own = self.conversations.lengths[self.fitting] - 1 - self.shared
        return [self.fitting[row] for row in pack(own, self.context - self.shared)]

    @property
    def tokens(self) -> int:
        """How many tokens all rows have."""
        own = self.conversations.lengths[self.fitting] - 1 - self.shared
        return int(own.sum()) + self.shared * len(self.packs)

    def batch(self, rows: Sequence[NDArray[np.int64]], device: torch.device) -> Batch:
        """Rows side by side. No conversation sees another, and each goes on from what all begin with."""
        read, told, documents, positions = [], [], [], []
        shared = self.shared
        for numbers in rows:
            parts = [self._part(number) for number in numbers]
            counts = [len(ids) - 1 - shared for ids, _ in parts]
            ends = [np.arange(shared, shared + count) for count in counts]
            read.append(np.concatenate([parts[0][0][:shared], *(ids[shared:-1] for ids, _ in parts)]))
            answers = [np.where(answers, ids, NOTHING)[shared + 1 :] for ids, answers in parts]
            told.append(np.concatenate([np.full(shared, NOTHING), *answers]))
            documents.append(np.repeat([SHARED, *range(len(parts))], [shared, *counts]))
            positions.append(np.concatenate([np.arange(shared), *ends]))
        return Batch(
            None,
            None,
            padded(read, 0).to(device),
            padded(told, NOTHING).to(device),
            padded(documents, NO_CONVERSATION).to(device),
            padded(positions, -1).to(device),
        )

    def _part(self, number: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        start, end = self.conversations.starts[number : number + 2]
        return self.conversations.ids[start:end], self.conversations.answers[start:end]


@dataclass(frozen=True)
class Conversations:
    """The training task for conversations (see `loop.Task`): the next token of each answer.

    Args:
        recipe: gives the rows of an update, label_smoothing, seed.
        train: the training conversations.
        validation: the held-out conversations.
        device: where the model is.
        dtype: of matrix products.
    """

    recipe: Recipe
    train: ConversationRows
    validation: ConversationRows
    device: torch.device
    dtype: torch.dtype

    def batches(self, step: int) -> Iterator[tuple[Batch, int]]:
        """A step's rows, `micro_batch_size` at a time; each epoch visits every row once, in an order of its own."""
        packs = self.train.packs
        _, places = visited(step, self.recipe.rows, len(packs), self.recipe.seed)
        for first in range(0, len(places), self.recipe.micro_batch_size):
            rows = [packs[place] for place in places[first : first + self.recipe.micro_batch_size]]
            batch = self.train.batch(rows, self.device)
            yield batch, int((batch.next_ids != NOTHING).sum())

    def learn(self, model: nn.Module, batch: Any, share: float) -> Tensor:
        """See `learn_next`."""
        return learn_next(model, batch, share, self.recipe.label_smoothing)

    @property
    def validated_share(self) -> float:
        """The part of the held-out rows that `validate` scores; where none are held out, no others are scored."""
        return len(self._some) / len(self._all)

    @cached_property
    def _some(self) -> list[NDArray[np.int64]]:
        wanted = max(1, self.recipe.validation_tokens // self.recipe.context)
        return self.validation.packs[:: -(-len(self.validation.packs) // wanted)]

    @property
    def _all(self) -> list[NDArray[np.int64]]:
        return self._some if self.validation is self.train else self.validation.packs

    def validate(self, model: nn.Module) -> float:
        """Bits a byte of answers, on evenly spread held-out rows, always the same."""
        return self._score(model, self._some).bits_a_byte

    def describe(self, model: nn.Module) -> dict[str, float]:
        """Bits a byte say it all."""
        return {}

    def final_score(self, model: nn.Module, track: Track = silent) -> Score:
        """The score on all held-out conversations, or on some to learn from where none are held out."""
        with track("Scoring the conversations", len(self._all)) as advance:
            return self._score(model, self._all, advance)

    def _score(
        self, model: nn.Module, packs: Sequence[NDArray[np.int64]], advance: Advance = lambda amount: None
    ) -> Score:
        def batches() -> Iterator[Batch]:
            for first in range(0, len(packs), self.recipe.micro_batch_size):
                rows = packs[first : first + self.recipe.micro_batch_size]
                yield self.validation.batch(rows, self.device)
                advance(len(rows))

        answer_bytes = self.validation.conversations.answer_bytes[np.concatenate(packs)].sum()
        return Score(*surprise(model, batches(), self.dtype), int(answer_bytes))
