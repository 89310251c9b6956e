"""Rules of thumb for choosing hyperparameters: what differs between books and pairs, and what does not."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

from openbook.transformer.architecture import Architecture


class Size(NamedTuple):
    """A size of model. `tokens` to train on make it worth its time."""

    encoder_layers: int
    layers: int
    width: int
    tokens: float


class Rules(ABC):
    """The amount of data, and the rules that depend on its kind."""

    SIZES: ClassVar[tuple[Size, ...]]
    """From small to large."""

    @property
    @abstractmethod
    def text_bytes(self) -> int:
        """Bytes of all training text."""

    @property
    @abstractmethod
    def amount(self) -> str:
        """How much data there is, in words."""

    @abstractmethod
    def epoch_tokens(self, token_bytes: float) -> float:
        """Tokens to predict in an epoch, if a token covers `token_bytes` bytes."""

    @abstractmethod
    def vocab_size(self, tokenizer: str) -> int:
        """The vocabulary size for this amount of data."""

    @abstractmethod
    def context(self, token_bytes: float, seconds: float, has_encoder: bool) -> int:
        """The context of a new model that is trained for so many seconds."""

    @abstractmethod
    def defaults(self, has_encoder: bool) -> dict[str, Any]:
        """Choices that do not depend on anything."""

    @abstractmethod
    def shape(self, size: Size, given: Mapping[str, Any]) -> dict[str, Any]:
        """The model's sizes, where they are not given."""

    @abstractmethod
    def measured_batch(self, architecture: Architecture, context: int, token_bytes: float) -> tuple[int, int]:
        """Tokens per sequence and sequences of the batch with which speed is measured."""

    @abstractmethod
    def regularization(self, epochs: float, given: Mapping[str, Any]) -> dict[str, Any]:
        """What prevents overfitting in so many epochs."""

    @abstractmethod
    def fine_tuning_context(self, architecture: Architecture, token_bytes: float) -> int:
        """The context in fine-tuning."""

    @abstractmethod
    def fine_tuning_batch(self, tokens: float) -> int:
        """Tokens per step in fine-tuning on so many tokens."""

    @abstractmethod
    def fine_tuning_regularization(self, epochs: float) -> dict[str, Any]:
        """The same as `regularization`, in fine-tuning."""

    def default_minutes(self) -> float:
        """Two minutes for up to a megabyte of text, then in proportion to its square root, at most two hours."""
        return float(min(120, max(2, round(2 * math.sqrt(self.text_bytes / 1e6)))))


def bytes_per_token(vocab_size: int, tokenizer: str) -> float:
    """Bytes of text that a token covers, roughly, before there is a tokenizer to ask."""
    if tokenizer in ("bpe", "unigram"):
        return max(1.0, 0.46 * math.log2(vocab_size) - 1.8)
    return {"bytes": 1.0, "characters": 1.02}.get(tokenizer, 4.5)


def batch_size(tokens: float, minimum: int = 1024) -> int:
    """Tokens per step, to train on so many: the power of two next to 2.4·√tokens, from `minimum` to 524,288."""
    return max(minimum, int(2 ** min(19, round(math.log2(2.4 * math.sqrt(tokens))))))


def limit_context(epoch_tokens: float, context: int) -> int:
    """This context, or a power of two up to an eighth of the text if that is less."""
    return int(min(context, 2 ** max(3, math.floor(math.log2(max(8.0, epoch_tokens / 8))))))


def even(width: int) -> int:
    """The even width below, at least 2: rotary positions turn pairs of numbers, so a head has whole pairs."""
    return max(2, width // 2 * 2)


def shape_choices(layers: int, width: int, given: Mapping[str, Any]) -> dict[str, Any]:
    """All sizes that follow from layers and width, where they are not given."""
    head_width = given.get("head_width", even(min(64, width)))
    heads = given.get("heads", max(1, width // head_width))
    gated_width = 32 * max(1, round(width * 8 / 3 / 32))
    feed_forward_width = gated_width if given.get("gated", True) else 4 * width
    return {
        "layers": layers,
        "width": width,
        "head_width": head_width,
        "heads": heads,
        "key_value_heads": given.get("key_value_heads", heads),
        "feed_forward_width": given.get("feed_forward_width", feed_forward_width),
    }
