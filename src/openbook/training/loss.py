"""The loss of next tokens and its gradients, computed in chunks: the logits are by far the largest tensor of a step."""

from collections.abc import Iterable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from openbook.training.group import current_group
from openbook.transformer.transformer import Transformer

MAX_LOGITS = 1 << 21
"""Logits in a chunk at most, so that they stay in the processor's cache."""

MIN_CHUNK = 256
"""Tokens in a chunk at least: each chunk reads the output matrix once and adds to its gradient once."""

IGNORE_INDEX = -100
"""The label of a position that has no token to predict, as in `torch.nn.functional.cross_entropy`."""


class Batch(NamedTuple):
    """Sequences side by side, for a model with or without an encoder."""

    source: Tensor | None
    """(B, S): what the encoder reads; None for a decoder-only model."""
    source_positions: Tensor | None
    """(B, S): the position of each source token, negative at padding; None where there is no padding."""
    target: Tensor
    """(B, T): what the decoder reads."""
    labels: Tensor
    """(B, T): the token after each; `IGNORE_INDEX` where there is none to predict."""
    documents: Tensor | None = None
    """(B, T): the document of each token, where documents must not attend to each other."""
    positions: Tensor | None = None
    """(B, T): the position of each token, negative at padding; None where they count up from 0."""


def hidden_states(model: Transformer, batch: Batch) -> Tensor:
    """The decoder's last hidden states (B, T, D), from which the logits follow."""
    encoder_output = None if batch.source is None else model.encode(batch.source, batch.source_positions)
    return model.hidden(batch.target, batch.positions, batch.documents, encoder_output=encoder_output)


def forward_backward(model: nn.Module, batch: Batch, scale: float, label_smoothing: float = 0.0) -> Tensor:
    """Add the gradients of `scale` · (cross-entropy summed over all labels) to the model's.

    Memory does not grow with the vocabulary.

    Args:
        model: the model that is trained.
        batch: what it reads and predicts.
        scale: multiplies the loss.
        label_smoothing: the share ε of the target that is spread over all tokens (Szegedy et al. 2016, section 7).

    Returns:
        `scale` · (cross-entropy), without label smoothing, in nats; a scalar without a graph.
    """
    assert isinstance(model, Transformer)
    hidden, labels = hidden_states(model, batch).flatten(0, 1), batch.labels.flatten()
    labelled = labels != IGNORE_INDEX
    if not bool(labelled.all()):
        hidden, labels = hidden[labelled], labels[labelled]
    size = _chunk_size(model)
    chunks = [chunk.detach().requires_grad_() for chunk in torch.split(hidden, size)]
    total = torch.zeros((), device=labels.device)
    for chunk, chunk_labels in zip(chunks, torch.split(labels, size), strict=True):
        logits = model.logits(chunk).float()
        loss = F.cross_entropy(logits, chunk_labels, reduction="sum", label_smoothing=label_smoothing) * scale
        loss.backward()  # type: ignore[no-untyped-call]
        if label_smoothing:
            loss = F.cross_entropy(logits.detach(), chunk_labels, reduction="sum") * scale
        total += loss.detach()
    gradients = [chunk.grad for chunk in chunks if chunk.grad is not None]
    hidden.backward(torch.cat(gradients))  # type: ignore[no-untyped-call]
    return total


def _chunk_size(model: Transformer) -> int:
    """Tokens in a chunk."""
    return max(MIN_CHUNK, MAX_LOGITS // model.architecture.vocab_size)


@torch.inference_mode()
def token_cross_entropy(model: Transformer, hidden: Tensor, labels: Tensor) -> Tensor:
    """The cross-entropy of each label (n,) given its hidden state (n, D), in nats: (n,)."""
    size = _chunk_size(model)
    chunks = zip(torch.split(hidden, size), torch.split(labels, size), strict=True)
    return torch.cat([F.cross_entropy(model.logits(chunk).float(), ids, reduction="none") for chunk, ids in chunks])


@torch.inference_mode()
def summed_cross_entropy(
    model: nn.Module, batches: Iterable[Batch], dtype: torch.dtype = torch.float32
) -> tuple[float, int]:
    """The cross-entropy summed over all labels in nats, and how many there are; without dropout.

    In a group, each process takes a share of the batches.

    Args:
        model: in any mode.
        batches: what it reads and predicts.
        dtype: of matrix products.
    """
    assert isinstance(model, Transformer)
    was_training, group = model.training, current_group()
    model.eval()
    nats, count = 0.0, 0
    device = model.token_embedding.weight.device
    try:
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            for batch in group.scored_here(batches):
                labelled = batch.labels != IGNORE_INDEX
                hidden = hidden_states(model, batch)[labelled]
                nats += float(token_cross_entropy(model, hidden, batch.labels[labelled]).double().sum())
                count += int(labelled.sum())
    finally:
        model.train(was_training)
    return group.total_score(nats, count)
