"""A few sentences, each of which a tiny model learns by heart: from its first word to its end token."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from openbook.errors import SettingError
from openbook.generation.settings import Sampling
from openbook.progress import Track, silent
from openbook.text.corpus.corpus import Split
from openbook.text.formatting import format_count
from openbook.text.tokenizer.merge_counts import LongArray
from openbook.text.tokenizer.tokenizer import Tokenizer
from openbook.text.tokenizer.training import train_tokenizer
from openbook.text.tokenizer.unknown import UnknownCounter, total_unknown
from openbook.training.data.book_dataset import BookDataset
from openbook.training.data.dataset import generate_text
from openbook.training.evaluation.perplexity import Score, TokenBytes
from openbook.training.group import EVERY
from openbook.training.loss import IGNORE_INDEX, Batch, forward_backward, summed_cross_entropy
from openbook.training.plan.plan import Plan
from openbook.training.plan.tiny import MAXIMUM_BYTES, plan_tiny, too_large
from openbook.training.recipe import Recipe


@dataclass(frozen=True)
class TextLines:
    """Texts, their tokens with an end token each, and the bytes of those tokens."""

    texts: Sequence[str]
    tokens: Sequence[Sequence[int]]
    token_bytes: TokenBytes

    @classmethod
    def of(cls, texts: Sequence[str], tokenizer: Tokenizer) -> "TextLines":
        """Encode them."""
        encoded = tokenizer.encode_batch(texts)
        counter = UnknownCounter(tokenizer)
        unknown = total_unknown(map(counter.count, texts, encoded))
        tokens = [[*ids, tokenizer.end_id] for ids in encoded]
        return cls(texts, tokens, TokenBytes(counter.lengths, tokenizer.unknown_id, unknown))

    @property
    def predicted(self) -> NDArray[np.int64]:
        """All tokens but the first of each text."""
        return np.concatenate([ids[1:] for ids in self.tokens]).astype(np.int64)

    def batch(self, device: torch.device) -> Batch:
        """All of them side by side, padded at the end: each token predicts the next one.

        Attention is causal, so that no token sees the padding.
        """
        ids = pad_sequence([torch.tensor(each) for each in self.tokens], batch_first=True, padding_value=0)
        labels = pad_sequence(
            [torch.tensor(each[1:]) for each in self.tokens], batch_first=True, padding_value=IGNORE_INDEX
        )
        return Batch(None, None, ids[:, :-1].to(device), labels.to(device))


@dataclass(frozen=True)
class LineTask:
    """Learns to continue every line from its first word on; a step sees all of them (see `loop.Task`)."""

    train: TextLines
    validation: TextLines
    device: torch.device
    dtype: torch.dtype

    validated_fraction = 1.0

    @cached_property
    def _batch(self) -> Batch:
        return self.train.batch(self.device)

    def batches(self, step: int, share: slice = EVERY) -> Iterator[tuple[Batch, int]]:
        """All lines, in one micro-batch."""
        for batch in [self._batch][share]:
            yield batch, int((batch.labels != IGNORE_INDEX).sum())

    def forward_backward(self, model: nn.Module, batch: Any, scale: float) -> Tensor:
        """See `forward_backward`."""
        return forward_backward(model, batch, scale)

    def predicted_bytes(self, batches: Iterable[Batch]) -> tuple[float, int]:
        """See `loop.Task`."""
        return self.train.token_bytes.of_labels(batch.labels for batch in batches)

    def validate(self, model: nn.Module) -> float:
        """Bits per byte of all that follows the first words."""
        return self.evaluate(model).bits_per_byte

    def is_learned(self, model: nn.Module, step: int) -> bool:
        """Never asked: `stop_when_known` is for conversations."""
        return False

    def metrics(self, model: nn.Module) -> dict[str, float]:
        """Nothing: bits per byte say it all."""
        return {}

    def evaluate(self, model: nn.Module, track: Track = silent, fraction: float = 1.0) -> Score:
        """The same, as a score; always of all lines."""
        nats, count = summed_cross_entropy(model, [self.validation.batch(self.device)], self.dtype)
        ids, token_bytes = self.validation.predicted, self.validation.token_bytes
        return Score.priced(nats, count, round(token_bytes.of(ids)), token_bytes.unknown(ids))


@dataclass
class TinyDataset(BookDataset):
    """The lines of a few short texts, each a text of its own.

    Raises:
        OpenbookError: there is no text, or too much.
    """

    train: TextLines = field(init=False)
    validation: TextLines = field(init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.corpus.bytes > MAXIMUM_BYTES:
            raise too_large(self.corpus.bytes)

    def summary(self) -> dict[str, Any]:
        lines = _lines(self.corpus.train)
        held_out = ", nothing held out" if self.learns_all else ""
        read = [*self.corpus.report.lines(), f"{format_count(len(lines), 'line')} to learn by heart{held_out}."]
        return {**super().summary(), "lines": read, "expectations": None}

    @property
    def _train_ids(self) -> LongArray:
        return np.concatenate([np.array(ids, dtype=np.int64) for ids in self.train.tokens])

    def plan(self, device: torch.device, clock: Callable[[], float]) -> Plan:
        return plan_tiny(_lines(self.corpus.train), 2, self.request.choices)

    def tokenize(self, recipe: Recipe) -> tuple[Recipe, dict[str, Any]]:
        train, held_out = _lines(self.corpus.train), _lines(self.corpus.validation)
        self.tokenizer = self._load_or_train(
            "tokenizer",
            ["lines", recipe.tokenizer, recipe.vocab_size],
            lambda: train_tokenizer(train, recipe.tokenizer, recipe.vocab_size, sentences=True),
        )
        self.train = TextLines.of(train, self.tokenizer)
        self.validation = TextLines.of(held_out, self.tokenizer) if held_out else self.train
        longest = max(len(each) - 1 for part in (self.train, self.validation) for each in part.tokens)
        if longest > recipe.context:
            recipe = self._longer(recipe, longest)
        counts = [sum(len(each) - 1 for each in part.tokens) for part in (self.train, self.validation)]
        facts = {"vocab_size": self.tokenizer.vocab_size, "train": counts[0], "validation": counts[1]}
        unknown = [part.token_bytes.unknown(part.predicted).tokens for part in (self.train, self.validation)]
        facts |= {"unknown": unknown[0], "validation_unknown": unknown[1] if held_out else 0}
        return replace(recipe, vocab_size=self.tokenizer.vocab_size), facts

    def _longer(self, recipe: Recipe, longest: int) -> Recipe:
        """The recipe with a context that holds the longest line; its tokens can be counted only now."""
        if "context" in self.request.choices:
            raise SettingError(
                f"`context` {recipe.context}: the longest line has {format_count(longest, 'token')}; take a longer one"
            )
        context = 2 ** (longest - 1).bit_length()
        return replace(recipe, context=context, batch_tokens=max(recipe.batch_tokens, context * len(self.train.texts)))

    def task(self, recipe: Recipe, device: torch.device, dtype: torch.dtype) -> LineTask:
        return LineTask(self.train, self.validation, device, dtype)

    def sample(self, model: nn.Module, number: int) -> tuple[str, str]:
        """How the model continues the first half of a line."""
        ids = self.validation.tokens[number % len(self.validation.tokens)]
        prompt = list(ids[: max(1, len(ids) // 2)])
        settings = Sampling(max_tokens=40, temperature=0)
        return self.tokenizer.decode(prompt), generate_text(model, self.tokenizer, prompt, settings)


def _lines(split: Split) -> list[str]:
    """The lines that are not blank."""
    return [line.strip() for line in "".join(split.chunks()).split("\n") if line.strip()]
