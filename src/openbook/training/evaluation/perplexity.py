"""How well a model predicts a text: perplexity per token, and bits per byte, which is comparable across tokenizers.

A model of characters or words predicts "unknown" for what its vocabulary lacks. That alone would make ignorance cheap,
so each byte of it costs 8 bits more: what follows is spelled in bytes, all equally likely, as after the last escape of
PPM (Cleary & Witten 1984).
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from openbook.progress import Advance
from openbook.text.tokenizer.unknown import NOTHING_UNKNOWN, Unknown
from openbook.training.group import current_group
from openbook.training.loss import IGNORE_INDEX, token_cross_entropy
from openbook.transformer.transformer import Transformer

UNKNOWN_BYTE = math.log(256)
"""What a byte that no token spells costs, in nats."""


@dataclass(frozen=True)
class Score:
    """How well a model predicts a text.

    Attributes:
        nats: the cross-entropy of all tokens, summed, and `UNKNOWN_BYTE` for each byte that no token spells.
        tokens: that were scored.
        bytes: of the text that they encode.
        unknown: tokens among them that stand for what is not in the vocabulary.
        unknown_bytes: that no token spells.
        unknown_names: the most frequent unknown characters or words with their counts, where they are known.
        notes: what was guessed, replaced or left out of the files, a line each.
    """

    nats: float
    tokens: int
    bytes: int
    unknown: int = 0
    unknown_bytes: int = 0
    unknown_names: str = ""
    notes: tuple[str, ...] = ()

    @classmethod
    def priced(cls, nats: float, tokens: int, text_bytes: int, unknown: Unknown, names: str = "") -> "Score":
        """The score of tokens with this cross-entropy, what is unknown priced."""
        return cls(nats + unknown.bytes * UNKNOWN_BYTE, tokens, text_bytes, unknown.tokens, unknown.bytes, names)

    @property
    def bits_per_byte(self) -> float:
        """Σ −log₂ p(token) / bytes of text."""
        return self.nats / math.log(2) / max(1, self.bytes)

    @property
    def perplexity(self) -> float:
        """exp(mean cross-entropy per token)."""
        return math.exp(min(700.0, self.nats / max(1, self.tokens)))

    @property
    def unknown_said(self) -> str:
        """What is unknown and what it costs, for people; "" if nothing is."""
        if not self.unknown_bytes:
            return ""
        names = f": {self.unknown_names}" if self.unknown_names else ""
        return (
            f"{self.unknown:,} of the tokens are unknown, {self.unknown_bytes:,} of the bytes; each of these bytes "
            f"costs 8 bits{names}"
        )


class TokenBytes:
    """How many bytes of a text each of its tokens stands for.

    Args:
        lengths: (V,) the bytes that each token spells.
        unknown_id: the token for what the vocabulary lacks, or None.
        unknown: how much of the text is unknown; each unknown token stands for the mean.
    """

    def __init__(self, lengths: NDArray[np.int64], unknown_id: int | None, unknown: Unknown) -> None:
        self.lengths = lengths.astype(np.float64)
        self.unknown_id = unknown_id
        self.unknown_length = unknown.bytes / unknown.tokens if unknown.tokens else 0.0
        if unknown_id is not None:
            self.lengths[unknown_id] = self.unknown_length

    def of(self, ids: NDArray[Any]) -> float:
        """The bytes that these tokens stand for."""
        return float(self.lengths[ids].sum())

    def unknown(self, ids: NDArray[Any]) -> Unknown:
        """How many of these tokens are unknown, and about how many bytes they stand for."""
        count = int((ids == self.unknown_id).sum())
        return Unknown(count, round(count * self.unknown_length))

    def of_labels(self, labels: Iterable[Tensor]) -> tuple[float, int]:
        """The bytes that all labels of some batches stand for, and how many of them no token spells."""
        ids = np.concatenate(
            [np.empty(0, np.int64), *(each[each != IGNORE_INDEX].cpu().numpy().ravel() for each in labels)]
        )
        return self.of(ids), self.unknown(ids).bytes


def bits_per_byte(nats: float, text_bytes: float, unknown_bytes: float) -> float:
    """Bits per byte of text whose tokens have a cross-entropy of `nats` in all; what no token spells is priced."""
    return (nats + unknown_bytes * UNKNOWN_BYTE) / math.log(2) / max(1.0, text_bytes)


def sliding_windows(tokens: int, context: int, stride: int) -> Iterator[tuple[int, int]]:
    """Windows over a text as (start, first scored token); each token but the first is scored in one of them.

    A window reads `context` tokens and predicts the token after each. It scores those that the window before it did
    not reach, `stride` of them. The last window moves back to be whole.
    """
    scored = 1
    while scored < tokens:
        start = max(0, min(scored - 1, scored + stride - 1 - context, tokens - 1 - context))
        yield start, scored
        scored = start + context + 1


@torch.inference_mode()
def score_text(
    model: Transformer,
    tokens: NDArray[np.unsignedinteger[Any]],
    text_bytes: int,
    windows: Iterable[tuple[int, int]],
    *,
    context: int,
    rows: int = 16,
    dtype: torch.dtype = torch.float32,
    unknown: Unknown = NOTHING_UNKNOWN,
    names: str = "",
    advance: Advance = lambda amount: None,
) -> Score:
    """Score a text, window by window, without dropout; memory does not grow with the text.

    In a group, each process takes a share of the batches.

    Args:
        model: a decoder-only model in any mode.
        tokens: (tokens,) ids; the first is read and never scored, so begin with the end-of-text token to score a text
            whole.
        text_bytes: bytes of the text that the scored tokens encode.
        windows: as (start, first scored token), see `sliding_windows`.
        context: tokens that a window reads.
        rows: windows per batch.
        dtype: of matrix products.
        unknown: how much of that text is unknown.
        names: of the most frequent unknown characters or words.
        advance: is told the number of tokens that were scored.
    """
    was_training, group = model.training, current_group()
    model.eval()
    device = model.token_embedding.weight.device
    nats, count = 0.0, 0
    length = min(context, len(tokens) - 1)
    iterator = iter(windows)
    batches = iter(lambda: list(islice(iterator, rows)), [])
    try:
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            for batch in group.scored_here(batches):
                ids = np.stack([tokens[start : start + length + 1] for start, _ in batch]).astype(np.int64)
                inputs = torch.from_numpy(ids).to(device)
                hidden = model.hidden(inputs[:, :-1]).flatten(0, 1)
                losses = token_cross_entropy(model, hidden, inputs[:, 1:].flatten()).view(len(batch), length)
                new = [start + length + 1 - scored for start, scored in batch]
                nats += sum(float(row[-n:].double().sum()) for row, n in zip(losses, new, strict=True))
                count += sum(new)
                advance(sum(new))
    finally:
        model.train(was_training)
    return Score.priced(*group.total_score(nats, count), text_bytes, unknown, names)
