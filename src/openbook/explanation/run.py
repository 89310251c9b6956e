"""The traced run of a prompt: everything recorded, from token ids to the chosen token."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from openbook.errors import OpenbookError
from openbook.trace import Trace, note, trace


@dataclass(frozen=True)
class Explanation:
    """One forward pass of `model` over `tokens` (B, T), without dropout, and all that was recorded in it.

    `logits` (B, V) are those after the last token, `probabilities` (B, V) their softmax, `choice` (B,) the most
    probable next token.
    """

    model: nn.Module
    tokens: Tensor
    trace: Trace
    logits: Tensor
    probabilities: Tensor
    choice: Tensor


@torch.no_grad()
def explain(
    model: nn.Module, tokens: Tensor | Sequence[int], positions: Tensor | None = None, documents: Tensor | None = None
) -> Explanation:
    """Run the prompt through the model and record every number on the way to the next token.

    Args:
        model: a decoder-only transformer; it is left in the mode it was in.
        tokens: ids of one prompt, or (B, T).
        positions: (B, T), negative at padding; None when there is none.
        documents: (B, T), which document each token belongs to; None when all is one.

    Raises:
        OpenbookError: the prompt is empty.
    """
    device = next(model.parameters()).device
    ids = torch.as_tensor(tokens, device=device)
    ids = ids if ids.dim() == 2 else ids.long()[None]
    if not ids.shape[1]:
        raise OpenbookError("the prompt has no tokens; give at least one word to explain")
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
