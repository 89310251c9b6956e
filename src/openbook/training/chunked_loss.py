"""Learning from hidden vectors: the logits, by far the largest of all values, are worked out a few tokens at a time."""

from collections.abc import Iterable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from openbook.transformer.transformer import Transformer

LOGITS_AT_ONCE = 1 << 21
LEAST_AT_ONCE = 256
"""Tokens: a large table of logits is read, and its gradient added to, once for so many."""

NOTHING = -100
"""Stands in place of a next token where there is none to learn."""


class Batch(NamedTuple):
    """Sequences side by side, for a model of either kind."""

    source: Tensor | None
    """(B, S): what the encoder reads; None for a decoder-only model."""
    source_positions: Tensor | None
    """(B, S), negative at padding; None where there is none."""
    target: Tensor
    """(B, T): what the decoder reads."""
    next_ids: Tensor
    """(B, T): the token after each; `NOTHING` where there is none to learn."""
    documents: Tensor | None = None
    """(B, T): the document of each token, where they must not see each other."""
    positions: Tensor | None = None
    """(B, T): the position of each token, negative at padding; None where they count up from 0."""


def hidden_of(model: Transformer, batch: Batch) -> Tensor:
    """The vectors (B, T, D) from which the next tokens are predicted."""
    encoder_output = None if batch.source is None else model.encode(batch.source, batch.source_positions)
    return model.hidden(batch.target, batch.positions, batch.documents, encoder_output=encoder_output)


def learn_next(model: nn.Module, batch: Batch, share: float, label_smoothing: float = 0.0) -> Tensor:
    """Add the gradients of `share` times the summed cross-entropy of each next token; gives that product, in nats.

    The logits stay within the processor's cache this way, and memory does not grow with the vocabulary.

    Args:
        model: the model that learns.
        batch: what it reads and is to tell.
        share: what to multiply the loss with.
        label_smoothing: the part ε of the target that is spread over all tokens (Szegedy et al. 2016, section 7).
    """
    assert isinstance(model, Transformer)
    hidden, next_ids = hidden_of(model, batch).flatten(0, 1), batch.next_ids.flatten()
    real = next_ids != NOTHING
    if not bool(real.all()):
        hidden, next_ids = hidden[real], next_ids[real]
    some = _at_once(model)
    parts = [part.detach().requires_grad_() for part in torch.split(hidden, some)]
    total = torch.zeros((), device=next_ids.device)
    for part, wanted in zip(parts, torch.split(next_ids, some), strict=True):
        logits = model.logits(part).float()
        loss = F.cross_entropy(logits, wanted, reduction="sum", label_smoothing=label_smoothing) * share
        loss.backward()  # type: ignore[no-untyped-call]
        total += loss.detach()
    hidden.backward(torch.cat([part.grad for part in parts if part.grad is not None]))  # type: ignore[no-untyped-call]
    return total


def _at_once(model: Transformer) -> int:
    """How many tokens' logits are worked out together."""
    return max(LEAST_AT_ONCE, LOGITS_AT_ONCE // model.architecture.vocab_size)


@torch.inference_mode()
def surprises(model: Transformer, hidden: Tensor, next_ids: Tensor) -> Tensor:
    """The cross-entropy of each next token (n,) from its vector (n, D), in nats; logits a few at a time, as above."""
    some = _at_once(model)
    each = zip(torch.split(hidden, some), torch.split(next_ids, some), strict=True)
    return torch.cat([F.cross_entropy(model.logits(part).float(), ids, reduction="none") for part, ids in each])


@torch.inference_mode()
def surprise(model: nn.Module, batches: Iterable[Batch], dtype: torch.dtype = torch.float32) -> tuple[float, int]:
    """The summed cross-entropy of all next tokens in nats, without dropout, and how many there are.

    Args:
        model: in any mode.
        batches: what it reads and is to tell.
        dtype: of matrix products.
    """
    assert isinstance(model, Transformer)
    was_training = model.training
    model.eval()
    nats, counted = 0.0, 0
    device = model.token_embedding.weight.device
    try:
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            for batch in batches:
                real = batch.next_ids != NOTHING
                nats += float(surprises(model, hidden_of(model, batch)[real], batch.next_ids[real]).double().sum())
                counted += int(real.sum())
    finally:
        model.train(was_training)
    return nats, counted
