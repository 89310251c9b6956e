"""What there is to learn from pairs: each next token of the target, from the source and the target's tokens so far."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from openbook.errors import OpenbookError
from openbook.progress import Advance, Track, silent
from openbook.text.tokenizer.special_tokens import SpecialTokens
from openbook.training.chunked_loss import NOTHING, Batch, learn_next, surprise
from openbook.training.data.pair_batches import Parts, padded
from openbook.training.data.pair_tokens import TokenPairs
from openbook.training.evaluation import Score
from openbook.training.recipe import Recipe
from openbook.training.report.sample_translations import Translations
from openbook.transformer.mask import positions_of


class Marks(NamedTuple):
    """The special tokens that pairs are written with."""

    before: tuple[int, ...]
    """Stand before each source."""
    after: tuple[int, ...]
    """Stand after each source: its end, or what tells it from the target where one row holds both."""
    start: tuple[int, ...]
    """The decoder begins with these; none where it reads the source itself."""
    first: tuple[int, ...]
    """Every target begins with these."""
    end: int
    """Closes each target."""


def marks_of(special: SpecialTokens, apart: bool) -> Marks:
    """The marks of a vocabulary, for a model whose encoder reads sources `apart` or for a decoder-only one.

    Raises:
        OpenbookError: a decoder-only model's vocabulary has no separator.
    """
    end = special.end[0]
    if apart:
        start = end if special.decoder_start is None else special.decoder_start
        return Marks(special.prefix, special.suffix, (start,), special.forced_beginning, end)
    if special.separator is None:
        raise OpenbookError("this model's vocabulary has no token to stand between source and target; train a new one")
    return Marks(special.prefix, (special.separator,), (), (), end)


@dataclass(frozen=True)
class PairRows:
    """Pairs as the rows of a model of either kind.

    Args:
        tokens: all pairs.
        marks: the special tokens.
        apart: whether an encoder reads the source; else one row holds source and target.
        context: tokens that a row may have; longer pairs are left out.
        respelled: other spellings of a pair, by its number and a key, where words are not always spelled alike.
    """

    tokens: TokenPairs
    marks: Marks
    apart: bool
    context: int
    respelled: Callable[[int, int], tuple[list[int], list[int]]] | None = None

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """(pairs, rows): tokens of each row of all pairs."""
        before, after, start, first = map(len, self.marks[:4])
        source = self.tokens.source.lengths + before + after
        target = self.tokens.target.lengths + start + first
        return np.stack((source, target) if self.apart else (source + target,), axis=1)

    @cached_property
    def fitting(self) -> NDArray[np.int64]:
        """The numbers of the pairs that are not too long."""
        return np.flatnonzero((self.lengths <= self.context).all(axis=1))

    def source(self, number: int) -> NDArray[np.int64]:
        """A source with its marks."""
        return self._source(self.tokens.source[number])

    def _source(self, ids: Sequence[int] | NDArray[Any]) -> NDArray[np.int64]:
        return np.concatenate((self.marks.before, ids, self.marks.after)).astype(np.int64)

    def _target(self, ids: Sequence[int] | NDArray[Any]) -> NDArray[np.int64]:
        """From its first token to the end token."""
        return np.concatenate((self.marks.first, ids, (self.marks.end,))).astype(np.int64)

    def _row(self, number: int, key: int | None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Source and target with their marks; of other spellings those that are not too long."""
        if self.respelled is not None and key is not None:
            source, target = map(np.array, self.respelled(number, key))
            row = self._source(source), self._target(target)
            if (max if self.apart else sum)(map(len, row)) <= self.context:
                return row
        return self.source(number), self._target(self.tokens.target[number])

    def batch(self, numbers: NDArray[np.int64], device: torch.device, key: int | None = None) -> Batch:
        """These pairs side by side, in the spelling of a key, if there are several."""
        rows = [self._row(int(number), key) for number in numbers]
        sources, targets = [source for source, _ in rows], [target for _, target in rows]
        if not self.apart:
            read = [np.concatenate((source, target[:-1])) for source, target in zip(sources, targets, strict=True)]
            told = [
                np.concatenate((np.full(len(source) - 1, NOTHING), target))
                for source, target in zip(sources, targets, strict=True)
            ]
            return Batch(None, None, padded(read, 0).to(device), padded(told, NOTHING).to(device))
        source = padded(sources, NOTHING)
        real = source != NOTHING
        positions = None if bool(real.all()) else positions_of(real).to(device)
        read = [np.concatenate((self.marks.start, target[:-1])) for target in targets]
        return Batch(
            source.clamp(min=0).to(device),
            positions,
            padded(read, 0).to(device),
            padded(targets, NOTHING).to(device),
        )


@dataclass(frozen=True)
class Pairs:
    """The training task for pairs (see `loop.Task`): the next token of each target, given its source.

    Args:
        recipe: gives the batch's tokens, label_smoothing, seed.
        train: the training pairs.
        validation: the held-out pairs.
        device: where the model is.
        dtype: of matrix products.
        translations: held-out sentences to translate at each validation.
    """

    recipe: Recipe
    train: PairRows
    validation: PairRows
    device: torch.device
    dtype: torch.dtype
    translations: Translations | None = None

    @cached_property
    def parts(self) -> Parts:
        """The training pairs in parts of like lengths."""
        return Parts(self.train.lengths[self.train.fitting], self.part_tokens, self.recipe.seed)

    @property
    def part_tokens(self) -> int:
        """Tokens that are worked on at once."""
        return min(self.recipe.batch_tokens, self.recipe.micro_batch_size * self.recipe.context)

    def batches(self, step: int) -> Iterator[tuple[Batch, int]]:
        """A step's parts, each of pairs that are about as long."""
        count = max(1, self.recipe.batch_tokens // self.part_tokens)
        for numbers in self.parts.numbers(step * count, count):
            batch = self.train.batch(self.train.fitting[numbers], self.device, key=step)
            yield batch, int((batch.next_ids != NOTHING).sum())

    def learn(self, model: nn.Module, batch: Any, share: float) -> Tensor:
        """See `learn_next`."""
        return learn_next(model, batch, share, self.recipe.label_smoothing)

    @property
    def validated_share(self) -> float:
        """The part of the held-out tokens that `validate` scores."""
        return 1 / self._every

    @property
    def _every(self) -> int:
        total = int(self.validation.lengths[self.validation.fitting][:, -1].sum())
        return max(1, min(len(self.validation.fitting), round(total / self.recipe.validation_tokens)))

    def validate(self, model: nn.Module) -> float:
        """Bits a byte of target text, on every so many of the held-out pairs, always the same."""
        return self._score(model, self.validation.fitting[:: self._every]).bits_a_byte

    def describe(self, model: nn.Module) -> dict[str, float]:
        """BLEU and chrF of some translations."""
        return {} if self.translations is None else self.translations.measure(model)

    def final_score(self, model: nn.Module, track: Track = silent) -> Score:
        """The score on all held-out pairs."""
        with track("Scoring the held-out pairs", len(self.validation.fitting)) as advance:
            return self._score(model, self.validation.fitting, advance)

    def _score(self, model: nn.Module, numbers: NDArray[np.int64], advance: Advance = lambda amount: None) -> Score:
        return score_pairs(model, self.validation, numbers, self.part_tokens, self.device, self.dtype, advance)


def score_pairs(
    model: nn.Module,
    rows: PairRows,
    numbers: NDArray[np.int64],
    part_tokens: int,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    advance: Advance = lambda amount: None,
) -> Score:
    """How well a model tells each next token of these pairs' targets, their end tokens too.

    Args:
        model: in any mode; it is evaluated without dropout.
        rows: the pairs.
        numbers: which of them.
        part_tokens: tokens to work on at once.
        device: where the model is.
        dtype: of matrix products.
        advance: told of each pair that was scored.
    """
    parts = Parts(rows.lengths[numbers], part_tokens, seed=0)

    def batches() -> Iterator[Batch]:
        for part in parts.numbers(0, parts.per_epoch):
            yield rows.batch(numbers[part], device)
            advance(len(part))

    return Score(*surprise(model, batches(), dtype), int(rows.tokens.target_bytes[numbers].sum()))
