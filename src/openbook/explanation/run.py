"""A traced run of a prompt, or of a source and a target: everything recorded, from token ids to the chosen token."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from openbook.errors import OpenbookError
from openbook.model_file.architecture_summary import check_kind
from openbook.text.formatting import format_count
from openbook.trace import Trace, note, trace
from openbook.transformer.architecture import Architecture, Stack
from openbook.transformer.transformer import Transformer

MAX_BYTES = 2**31
"""Memory that the recorded scores and weights of attention may take; they grow with the square of the prompt."""
_BYTES_PER_SCORE = 4 * 4  # float32 scores, capped scores, masked scores, weights


@dataclass(frozen=True)
class Explanation:
    """One forward pass, without dropout, and everything that was recorded in it.

    Attributes:
        model: that was run.
        tokens: (B, T), of the prompt, or for an encoder-decoder of the target so far.
        trace: every recorded value by path.
        logits: (B, V), after the last token.
        probabilities: (B, V), their softmax.
        choice: (B,), the most probable next token.
        source: (B, S), what an encoder read.
        html: makes the page of this pass; None where the tokens' texts are not known.
    """

    model: Transformer
    tokens: Tensor
    trace: Trace
    logits: Tensor
    probabilities: Tensor
    choice: Tensor
    source: Tensor | None = None
    html: Callable[[], str] | None = field(default=None, repr=False, compare=False)

    def _repr_html_(self) -> str | None:
        """What a notebook shows: everything down to each number, in a frame."""
        return None if self.html is None else self.html()


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
        model: decoder-only or encoder-decoder; it stays in training or evaluation mode as it was.
        tokens: ids of one prompt, or (B, T); for an encoder-decoder the target so far, with its start token.
        positions: (B, T), negative at padding; None if there is no padding.
        documents: (B, T), which document each token belongs to; None if all belong to one; not for encoder-decoders.
        source: ids of one source, or (B, S), for an encoder-decoder.
        source_positions: (B, S), as `positions`.

    Raises:
        OpenbookError: the prompt is empty, or too long for the model's context or for memory; a source is missing, or
            given to a decoder-only model.
    """
    ids = _ids(model, tokens)
    source_ids = None if source is None else _ids(model, source)
    purpose = "explaining a prompt alone" if source_ids is None else "explaining a source and its target"
    check_kind(model.architecture, encoder_decoder=source_ids is not None, purpose=purpose)
    _check_size(model.architecture, ids, source_ids)
    was_training = model.training
    model.eval()
    try:
        with trace(model) as recorded:
            logits = model(ids, positions, documents, source=source_ids, source_positions=source_positions)[:, -1]
            probabilities = note("probabilities", logits.softmax(-1))
            choice = note("choice", probabilities.argmax(-1))
    finally:
        model.train(was_training)
    return Explanation(model, ids, recorded, logits, probabilities, choice, source_ids)


def _ids(model: Transformer, tokens: Tensor | Sequence[int]) -> Tensor:
    ids = torch.as_tensor(tokens, device=next(model.parameters()).device)
    return ids if ids.dim() == 2 else ids.long()[None]


def check_size(model: Transformer, tokens: Sequence[int], source: Sequence[int] | None) -> None:
    """That a prompt, or a target and its source, can be explained with this model.

    Raises:
        OpenbookError: there are no tokens, or more than the context or the memory take; a source is missing, or given
            to a decoder-only model.
    """
    purpose = "explaining a prompt alone" if source is None else "explaining a source and its target"
    check_kind(model.architecture, encoder_decoder=source is not None, purpose=purpose)
    _check_size(model.architecture, _ids(model, tokens), None if source is None else _ids(model, source))


def _check_size(architecture: Architecture, tokens: Tensor, source: Tensor | None) -> None:
    """That there are tokens, and that they fit the context and, when recorded, the memory."""
    length, name = tokens.shape[1], "prompt" if source is None else "target"
    if not length or (source is not None and not source.shape[1]):
        raise OpenbookError(f"the {name if not length else 'source'} has no tokens; give at least one word to explain")
    # Each head records a score for each pair of tokens: T · T, in an encoder S · S, in cross-attention T · S.
    scores = MAX_BYTES / (tokens.shape[0] * _BYTES_PER_SCORE)
    cross_scores_per_token = 0
    if source is not None and architecture.encoder is not None:
        source_length, encoder_heads = source.shape[1], _heads(architecture.encoder)
        _check_length("source", source_length, architecture.context, scores, encoder_heads, 0)
        scores -= encoder_heads * source_length**2
        cross_scores_per_token = _heads(architecture.decoder, cross=True) * source_length
    _check_length(name, length, architecture.context, scores, _heads(architecture.decoder), cross_scores_per_token)


def _check_length(name: str, length: int, context: int, scores: float, heads: int, cross_scores_per_token: int) -> None:
    """That heads · length² + cross_scores_per_token · length is at most `scores`."""
    root = (cross_scores_per_token**2 + 4 * heads * scores) ** 0.5
    longest = min(context, int((root - cross_scores_per_token) / (2 * heads)))
    if length > longest:
        raise OpenbookError(
            f"the {name} has {format_count(length, 'token')}; at most {longest:,} can be explained with this model"
        )


def _heads(stack: Stack, cross: bool = False) -> int:
    """How many heads all layers of a stack have together."""
    attentions = [block.cross_attention if cross else block.attention for block in stack.blocks]
    return sum(each.heads for each in attentions if each is not None)
