"""How well a model predicts a text: perplexity per token, and bits per byte, which is comparable across tokenizers."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from openbook.progress import Advance
from openbook.training.loss import token_cross_entropy
from openbook.transformer.transformer import Transformer


@dataclass(frozen=True)
class Score:
    """The cross-entropy in nats of `tokens` tokens, summed; they encode `bytes` bytes of text."""

    nats: float
    tokens: int
    bytes: int

    @property
    def bits_per_byte(self) -> float:
        """Σ −log₂ p(token) / bytes of text."""
        return self.nats / math.log(2) / max(1, self.bytes)

    @property
    def perplexity(self) -> float:
        """exp(mean cross-entropy per token)."""
        return math.exp(min(700.0, self.nats / max(1, self.tokens)))


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
    advance: Advance = lambda amount: None,
) -> Score:
    """Score a text, window by window, without dropout; memory does not grow with the text.

    Args:
        model: a decoder-only model in any mode.
        tokens: (tokens,) ids; the first is read and never scored, so begin with the end-of-text token to score a text
            whole.
        text_bytes: bytes of the text that the scored tokens encode.
        windows: as (start, first scored token), see `sliding_windows`.
        context: tokens that a window reads.
        rows: windows per batch.
        dtype: of matrix products.
        advance: is told the number of tokens that were scored.
    """
    was_training = model.training
    model.eval()
    device = model.token_embedding.weight.device
    nats, count = 0.0, 0
    length = min(context, len(tokens) - 1)
    iterator = iter(windows)
    try:
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            while batch := list(islice(iterator, rows)):
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
    return Score(nats, count, text_bytes)
