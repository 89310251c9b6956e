"""How well a model predicts a text: nats a token, and bits a byte, which compares whatever the tokens are."""

import math
from collections.abc import Iterator
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
    """The summed surprise of `tokens` tokens that stand for `bytes` bytes of text, in nats."""

    nats: float
    tokens: int
    bytes: int

    @property
    def bits_per_byte(self) -> float:
        """Σ −log₂ p(token) / bytes of text."""
        return self.nats / math.log(2) / max(1, self.bytes)

    @property
    def perplexity(self) -> float:
        """exp of the mean surprise a token: how many equally likely tokens would be as hard to guess."""
        return math.exp(min(700.0, self.nats / max(1, self.tokens)))


def strided(count: int, context: int, stride: int) -> Iterator[tuple[int, int]]:
    """Windows over `count` tokens as (start, first scored): each token but the first is scored once.

    A window holds `context` tokens and guesses the token after each; it scores those that the one before it did not
    reach, `stride` of them. The last window moves back to be whole.
    """
    scored = 1
    while scored < count:
        start = max(0, min(scored - 1, scored + stride - 1 - context, count - 1 - context))
        yield start, scored
        scored = start + context + 1


@torch.inference_mode()
def score(
    model: Transformer,
    tokens: NDArray[np.unsignedinteger[Any]],
    text_bytes: int,
    *,
    context: int,
    stride: int | None = None,
    windows: Iterator[tuple[int, int]] | None = None,
    rows: int = 16,
    dtype: torch.dtype = torch.float32,
    advance: Advance | None = None,
) -> Score:
    """Score every token but the first, `rows` windows at a time, so memory does not grow with the text.

    Args:
        model: in any mode; it is evaluated without dropout.
        tokens: ids in a row; the first is given, not guessed (begin with the end-of-text token to score all of a text).
        text_bytes: bytes of the text that the scored tokens stand for.
        context: tokens that a window sees.
        stride: tokens by which windows move on; fewer than `context` give each token more to look back on.
        windows: those to score (see `strided`) where it shall not be all.
        rows: windows at once.
        dtype: of matrix products.
        advance: told of each token that was scored.
    """
    was_training = model.training
    model.eval()
    device = model.token_embedding.weight.device
    nats, counted = 0.0, 0
    length = min(context, len(tokens) - 1)
    windows = windows or strided(len(tokens), length, stride or length)
    try:
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            while group := list(islice(windows, rows)):
                batch = np.stack([tokens[start : start + length + 1] for start, _ in group]).astype(np.int64)
                ids = torch.from_numpy(batch).to(device)
                hidden = model.hidden(ids[:, :-1]).flatten(0, 1)
                losses = token_cross_entropy(model, hidden, ids[:, 1:].flatten()).view(len(group), length)
                fresh = [length - (scored - 1 - start) for start, scored in group]
                nats += sum(float(row[-count:].double().sum()) for row, count in zip(losses, fresh, strict=True))
                counted += sum(fresh)
                if advance is not None:
                    advance(sum(fresh))
    finally:
        model.train(was_training)
    return Score(nats, counted, text_bytes)
