"""The traced run of a prompt: everything recorded, from token ids to the chosen token."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from openbook.errors import OpenbookError
from openbook.trace import Trace, note, trace
from openbook.transformer.architecture import Architecture
from openbook.transformer.decoder_only import DecoderOnly

MOST_BYTES = 2**31
"""Memory that the recorded rows of attention may take; they grow with the square of the prompt."""
_STEPS_OF_ATTENTION = 4  # scores, capped scores, masked scores, weights


@dataclass(frozen=True)
class Explanation:
    """One forward pass of `model` over `tokens` (B, T), without dropout, and all that was recorded in it.

    `logits` (B, V) are those after the last token, `probabilities` (B, V) their softmax, `choice` (B,) the most
    probable next token.
    """

    model: DecoderOnly
    tokens: Tensor
    trace: Trace
    logits: Tensor
    probabilities: Tensor
    choice: Tensor


@torch.no_grad()
def explain(
    model: DecoderOnly,
    tokens: Tensor | Sequence[int],
    positions: Tensor | None = None,
    documents: Tensor | None = None,
) -> Explanation:
    """Run the prompt through the model and record every number on the way to the next token.

    Args:
        model: a decoder-only transformer; it is left in the mode it was in.
        tokens: ids of one prompt, or (B, T).
        positions: (B, T), negative at padding; None when there is none.
        documents: (B, T), which document each token belongs to; None when all is one.

    Raises:
        OpenbookError: the prompt is empty, or longer than the model's context or than fits in memory when recorded.
    """
    device = next(model.parameters()).device
    ids = torch.as_tensor(tokens, device=device)
    ids = ids if ids.dim() == 2 else ids.long()[None]
    _check_size(model.architecture, *ids.shape)
    was_training = model.training
    model.eval()
    try:
        with trace(model) as recorded:
            logits = model(ids, positions, documents)[:, -1]
            probabilities = note("probabilities", logits.softmax(-1))
            choice = note("choice", probabilities.argmax(-1))
    finally:
        model.train(was_training)
    return Explanation(model, ids, recorded, logits, probabilities, choice)


def _check_size(architecture: Architecture, rows: int, length: int) -> None:
    if not length:
        raise OpenbookError("the prompt has no tokens; give at least one word to explain")
    heads = sum(block.attention.heads for block in architecture.decoder.blocks)
    recordable = math.isqrt(MOST_BYTES // (rows * heads * _STEPS_OF_ATTENTION * 4))
    most = min(architecture.context, recordable)
    if length > most:
        raise OpenbookError(f"the prompt has {length:,} tokens; at most {most:,} can be explained with this model")
