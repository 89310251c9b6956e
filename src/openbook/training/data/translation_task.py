"""Translation: learning the next token of each target, from its source and the target's tokens before it."""

from collections.abc import Callable, Iterable, Iterator, Sequence
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
from openbook.training.data.batching import LengthGroupedSampler, pad
from openbook.training.data.tokenization import TokenizedPairs
from openbook.training.evaluation.perplexity import Score, TokenBytes
from openbook.training.evaluation.translation import TranslationSet
from openbook.training.group import EVERY
from openbook.training.loss import IGNORE_INDEX, Batch, forward_backward, summed_cross_entropy
from openbook.training.recipe import Recipe
from openbook.transformer.mask import positions_of

Ids = NDArray[np.int64]


class PairTemplate(NamedTuple):
    """The special tokens around a source and its target."""

    source_prefix: tuple[int, ...]
    source_suffix: tuple[int, ...]
    """The end of the source, or what separates it from the target where one sequence holds both."""
    decoder_start: tuple[int, ...]
    """What the decoder reads first; nothing where it reads the source itself."""
    target_prefix: tuple[int, ...]
    """What every target begins with."""
    end: int
    """Closes each target."""

    @classmethod
    def of(cls, special: SpecialTokens, has_encoder: bool) -> "PairTemplate":
        """The template of a vocabulary, for an encoder-decoder or a decoder-only model.

        Raises:
            OpenbookError: a decoder-only model's vocabulary has no separator.
        """
        end = special.end[0]
        if has_encoder:
            start = end if special.decoder_start is None else special.decoder_start
            return cls(special.prefix, special.suffix, (start,), special.forced_beginning, end)
        if special.separator is None:
            raise OpenbookError(
                "this model's vocabulary has no token to stand between source and target; train a new one"
            )
        return cls(special.prefix, (special.separator,), (), (), end)


@dataclass(frozen=True)
class PairSequences:
    """Pairs as the sequences that a model reads.

    Args:
        tokens: all pairs.
        template: the special tokens around them.
        has_encoder: whether an encoder reads the source; else one sequence holds source and target.
        context: the most tokens of a sequence; longer pairs are left out.
        side_tokens: likewise of a source and of a target, each with its end; None: what the context holds.
        resample: encodes the pair of an index anew, with BPE dropout that depends on a key; None: always alike.
    """

    tokens: TokenizedPairs
    template: PairTemplate
    has_encoder: bool
    context: int
    side_tokens: int | None = None
    resample: Callable[[int, int], tuple[list[int], list[int]]] | None = None

    @cached_property
    def lengths(self) -> Ids:
        """(pairs, sequences): tokens of each sequence of all pairs."""
        prefix, suffix, start, target_prefix = map(len, self.template[:4])
        source = self.tokens.source.lengths + prefix + suffix
        target = self.tokens.target.lengths + start + target_prefix
        return np.stack((source, target) if self.has_encoder else (source + target,), axis=1)

    @cached_property
    def fitting(self) -> Ids:
        """The indices of the pairs that are not too long."""
        fits = (self.lengths <= self.context).all(axis=1)
        if self.side_tokens is not None:
            longer = np.maximum(self.tokens.source.lengths, self.tokens.target.lengths)
            fits &= longer + 1 <= self.side_tokens
        return np.flatnonzero(fits)

    @property
    def predicted_tokens(self) -> int:
        """Tokens of the targets of all fitting pairs, their ends included."""
        return int((self.tokens.target.lengths[self.fitting] + 1).sum())

    @property
    def target_tokens(self) -> int:
        """Tokens that the decoder reads of all fitting pairs."""
        return int(self.lengths[self.fitting][:, -1].sum())

    def source(self, index: int) -> Ids:
        """A source with its special tokens."""
        return self._source(self.tokens.source[index])

    def _source(self, ids: Sequence[int] | NDArray[Any]) -> Ids:
        return np.concatenate((self.template.source_prefix, ids, self.template.source_suffix)).astype(np.int64)

    def _target(self, ids: Sequence[int] | NDArray[Any]) -> Ids:
        """From its first token to the end token."""
        return np.concatenate((self.template.target_prefix, ids, (self.template.end,))).astype(np.int64)

    def _pair(self, index: int, key: int | None) -> tuple[Ids, Ids]:
        """Source and target with their special tokens; encoded with BPE dropout where they fit so."""
        if self.resample is not None and key is not None:
            source, target = map(np.array, self.resample(index, key))
            pair = self._source(source), self._target(target)
            if (max if self.has_encoder else sum)(map(len, pair)) <= self.context:
                return pair
        return self.source(index), self._target(self.tokens.target[index])

    def batch(self, indices: Ids, device: torch.device, key: int | None = None) -> Batch:
        """The pairs of these indices; the key seeds BPE dropout, None turns it off."""
        pairs = [self._pair(int(index), key) for index in indices]
        if not self.has_encoder:
            ids = [np.concatenate((source, target[:-1])) for source, target in pairs]
            labels = [np.concatenate((np.full(len(source) - 1, IGNORE_INDEX), target)) for source, target in pairs]
            return Batch(None, None, pad(ids, 0).to(device), pad(labels, IGNORE_INDEX).to(device))
        source = pad([source for source, _ in pairs], IGNORE_INDEX)
        real = source != IGNORE_INDEX
        return Batch(
            source.clamp(min=0).to(device),
            None if bool(real.all()) else positions_of(real).to(device),
            pad([np.concatenate((self.template.decoder_start, target[:-1])) for _, target in pairs], 0).to(device),
            pad([target for _, target in pairs], IGNORE_INDEX).to(device),
        )


@dataclass(frozen=True)
class TranslationTask:
    """Learns the next token of each target, given its source (see `loop.Task`).

    Args:
        recipe: gives the batch's tokens, label smoothing and seed.
        train: the training pairs.
        validation: the held-out pairs.
        device: where the model is.
        dtype: of matrix products.
        token_bytes: the bytes of each token of a target.
        translations: held-out sentences to translate at each validation.
    """

    recipe: Recipe
    train: PairSequences
    validation: PairSequences
    device: torch.device
    dtype: torch.dtype
    token_bytes: TokenBytes
    translations: TranslationSet | None = None

    @cached_property
    def sampler(self) -> LengthGroupedSampler:
        """The training pairs in micro-batches of similar length."""
        return LengthGroupedSampler(self.train.lengths[self.train.fitting], self.micro_batch_tokens, self.recipe.seed)

    @property
    def micro_batch_tokens(self) -> int:
        """Tokens of a micro-batch."""
        return min(self.recipe.batch_tokens, self.recipe.micro_batch_size * self.recipe.context)

    def batches(self, step: int, share: slice = EVERY) -> Iterator[tuple[Batch, int]]:
        """A step's micro-batches, each of pairs of similar length."""
        count = max(1, self.recipe.batch_tokens // self.micro_batch_tokens)
        for indices in self.sampler.batches(step * count, count)[share]:
            batch = self.train.batch(self.train.fitting[indices], self.device, key=step)
            yield batch, int((batch.labels != IGNORE_INDEX).sum())

    def forward_backward(self, model: nn.Module, batch: Any, scale: float) -> Tensor:
        """See `forward_backward`."""
        return forward_backward(model, batch, scale, self.recipe.label_smoothing)

    def predicted_bytes(self, batches: Iterable[Batch]) -> tuple[float, int]:
        """See `loop.Task`."""
        return self.token_bytes.of_labels(batch.labels for batch in batches)

    @property
    def validated_fraction(self) -> float:
        """The part of the held-out tokens that `validate` scores."""
        return 1 / self._every

    @property
    def _every(self) -> int:
        """`validate` scores one in so many held-out pairs."""
        wanted = round(self.validation.predicted_tokens / self.recipe.validation_tokens)
        return max(1, min(len(self.validation.fitting), wanted))

    def validate(self, model: nn.Module) -> float:
        """Bits per byte of target text on evenly spread held-out pairs, the same ones each time."""
        return self._score(model, self.validation.fitting[:: self._every]).bits_per_byte

    def metrics(self, model: nn.Module) -> dict[str, float]:
        """BLEU and chrF of some translations."""
        return {} if self.translations is None else self.translations.metrics(model)

    def is_learned(self, model: nn.Module, step: int) -> bool:
        """Never: what is held out can always be predicted better."""
        return False

    def evaluate(self, model: nn.Module, track: Track = silent, fraction: float = 1.0) -> Score:
        """The score on the held-out pairs, or on this fraction of them, spread evenly."""
        indices = self.validation.fitting[:: max(1, round(1 / fraction))]
        with track("Scoring the held-out pairs", len(indices)) as advance:
            return self._score(model, indices, advance)

    def _score(self, model: nn.Module, indices: Ids, advance: Advance = lambda amount: None) -> Score:
        return score_pairs(model, self.validation, indices, self.micro_batch_tokens, self.device, self.dtype, advance)


def score_pairs(
    model: nn.Module,
    sequences: PairSequences,
    indices: Ids,
    micro_batch_tokens: int,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    advance: Advance = lambda amount: None,
) -> Score:
    """How well a model predicts each next token of these pairs' targets, their end tokens included.

    Args:
        model: in any mode; it is evaluated without dropout.
        sequences: the pairs.
        indices: of those to score.
        micro_batch_tokens: tokens to score at a time.
        device: where the model is.
        dtype: of matrix products.
        advance: told of each pair that was scored.
    """
    sampler = LengthGroupedSampler(sequences.lengths[indices], micro_batch_tokens, seed=0)

    def batches() -> Iterator[Batch]:
        for chosen in sampler.batches(0, sampler.batches_per_epoch):
            yield sequences.batch(indices[chosen], device)
            advance(len(chosen))

    tokens = sequences.tokens
    nats, count = summed_cross_entropy(model, batches(), dtype)
    return Score.priced(nats, count, int(tokens.target_bytes[indices].sum()), tokens.unknown(indices))
