"""The traced run of a prompt, or of a source and a target: everything recorded, from token ids to the chosen token."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from openbook.errors import OpenbookError
from openbook.model_file.architecture_summary import check_kind
from openbook.trace import Trace, note, trace
from openbook.transformer.architecture import Architecture, Stack
from openbook.transformer.transformer import Transformer

MOST_BYTES = 2**31
"""Memory that the recorded rows of attention may take; they grow with the square of the prompt."""
_BYTES_OF_A_SCORE = 4 * 4  # scores, capped scores, masked scores, weights


@dataclass(frozen=True)
class Explanation:
    """One forward pass of `model` over `tokens` (B, T), without dropout, and all that was recorded in it.

    For an encoder-decoder `tokens` are those of the target so far and `source` (B, S) those that the encoder read.
    `logits` (B, V) are those after the last token, `probabilities` (B, V) their softmax, `choice` (B,) the most
    probable next token.
    """

    model: Transformer
    tokens: Tensor
    trace: Trace
    logits: Tensor
    probabilities: Tensor
    choice: Tensor
    source: Tensor | None = None


@torch.no_grad()
def explain(
    model: Transformer,
    tokens: Tensor | Sequence[int],
    positions: Tensor | None = None,
    documents: Tensor | None = None,
    *,
    source: Tensor | Sequence[int] | None = None,
    source_positions: Tensor | None = None,
) -> Explanation:
    """Run the prompt through the model and record every number on the way to the next token.

    Args:
        model: a transformer of either kind; it is left in the mode it was in.
        tokens: ids of one prompt, or (B, T); for an encoder-decoder the target so far, with the token it begins from.
        positions: (B, T), negative at padding; None when there is none.
        documents: (B, T), which document each token belongs to; None when all is one; not for encoder-decoders.
        source: what an encoder-decoder reads, ids of one source, or (B, S).
        source_positions: (B, S), as `positions`.

    Raises:
        OpenbookError: the prompt is empty, or longer than the model's context or than fits in memory when recorded; a
            source is missing, or given to a model that reads none.
    """
    ids = _ids(model, tokens)
    read = None if source is None else _ids(model, source)
    purpose = "explaining a prompt alone" if read is None else "explaining a source and its target"
    check_kind(model.architecture, encoder_decoder=read is not None, purpose=purpose)
    _check_size(model.architecture, ids, read)
    was_training = model.training
    model.eval()
    try:
        with trace(model) as recorded:
            logits = model(ids, positions, documents, source=read, source_positions=source_positions)[:, -1]
            probabilities = note("probabilities", logits.softmax(-1))
            choice = note("choice", probabilities.argmax(-1))
    finally:
        model.train(was_training)
    return Explanation(model, ids, recorded, logits, probabilities, choice, read)


def _ids(model: Transformer, tokens: Tensor | Sequence[int]) -> Tensor:
    ids = torch.as_tensor(tokens, device=next(model.parameters()).device)
    return ids if ids.dim() == 2 else ids.long()[None]


def _check_size(architecture: Architecture, tokens: Tensor, source: Tensor | None) -> None:
    length, name = tokens.shape[1], "prompt" if source is None else "target"
    if not length or (source is not None and not source.shape[1]):
        raise OpenbookError(f"the {name if not length else 'source'} has no tokens; give at least one word to explain")
    # Each head records rows for T tokens of what they look at: themselves, or S of the source.
    room = MOST_BYTES / (tokens.shape[0] * _BYTES_OF_A_SCORE)
    if source is not None and architecture.encoder is not None:
        read = source.shape[1]
        _check_length("source", read, architecture.context, room, _heads(architecture.encoder), 0)
        room -= _heads(architecture.encoder) * read**2
        crossing = _heads(architecture.decoder, cross=True) * read
    else:
        crossing = 0
    _check_length(name, length, architecture.context, room, _heads(architecture.decoder), crossing)


def _check_length(name: str, length: int, context: int, room: float, heads: int, crossing: int) -> None:
    """That heads · length² + crossing · length numbers fit into the room."""
    recordable = int(((crossing**2 + 4 * heads * room) ** 0.5 - crossing) / (2 * heads))
    most = min(context, recordable)
    if length > most:
        raise OpenbookError(f"the {name} has {length:,} tokens; at most {most:,} can be explained with this model")


def _heads(stack: Stack, cross: bool = False) -> int:
    attentions = [block.cross_attention if cross else block.attention for block in stack.blocks]
    return sum(each.heads for each in attentions if each is not None)
