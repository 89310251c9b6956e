"""The logit lens: what the model would predict if each layer were its last (nostalgebraist 2020)."""

import re
from dataclasses import dataclass

import torch
from torch import Tensor

from openbook.explanation.run import Explanation
from openbook.trace import Trace
from openbook.transformer.transformer import Transformer

CHUNK = 2**26
"""Logits that are computed together."""
_END_OF_BLOCK = re.compile(r"decoder\.blocks\.(\d+)\.feed_forward_residual\.")


@dataclass(frozen=True)
class LensPrediction:
    """What one layer predicts after one token.

    Attributes:
        layer: from 0; −1 is the embedding, before any layer.
        token_id: the most probable next token according to this layer.
        probability: its probability.
        answer_probability: the probability, in this layer, of the token that the last layer predicts.
        answer_rank: the rank of that token among all tokens in this layer, 1 for the most probable.
    """

    layer: int
    token_id: int
    probability: float
    answer_probability: float
    answer_rank: int


@torch.no_grad()
def logit_lens(explanation: Explanation, index: int = -1) -> list[LensPrediction]:
    """softmax(logits(final_norm(x))) of the residual stream x (B, T, D), before the first block and after each.

    Args:
        explanation: the traced run; its first row is read.
        index: the token whose next token is predicted; the last one by default.
    """
    return lens_of_row(explanation.model, explanation.trace, index)


@torch.no_grad()
def lens_of_row(model: Transformer, trace: Trace, index: int, answer: int | None = None) -> list[LensPrediction]:
    """The same for one token of a traced pass; `answer` is another token to follow than the last layer's own."""
    row = index % trace["to_logits.logits"].value.shape[1]
    return [predictions[0] for predictions in lens_of_rows(model, trace, range(row, row + 1), answer)]


@torch.no_grad()
def lens_of_rows(
    model: Transformer, trace: Trace, rows: range, answer: int | None = None
) -> list[list[LensPrediction]]:
    """The same for several tokens of a traced pass: for each layer, from −1, a prediction for each row.

    Args:
        model: that was traced.
        trace: of a pass that has the logits of these rows.
        rows: indices of tokens.
        answer: the token to follow; None for the one that the last layer predicts.
    """
    streams = torch.stack([x[0, rows.start : rows.stop] for x in residual_streams(trace)])  # (N + 1, rows, D)
    final = trace["to_logits.logits"].value[0, rows.start : rows.stop].argmax(-1)
    followed = final if answer is None else torch.full_like(final, answer)
    predictions: list[list[LensPrediction]] = []
    for layers in torch.split(streams, max(1, CHUNK // (len(rows) * model.architecture.vocab_size))):
        logits = model.logits(model.decoder.final_norm(layers)).float()
        total, best = logits.logsumexp(-1), logits.max(-1)
        of_answer = logits.gather(-1, followed.expand(len(layers), -1)[..., None])
        rank = 1 + (logits > of_answer).sum(-1)
        columns = (best.indices, (best.values - total).exp(), (of_answer[..., 0] - total).exp(), rank)
        for each in zip(*(column.tolist() for column in columns), strict=True):
            layer = len(predictions) - 1
            predictions.append([LensPrediction(layer, *cell) for cell in zip(*each, strict=True)])
    return predictions


def residual_streams(trace: Trace) -> list[Tensor]:
    """The residual stream (B, T, D) of the decoder before the first block, then after each block."""
    normalized = "decoder.embedding_norm.output"
    start = trace[normalized if normalized in trace else "decoder.embedded"].value
    ends = {}
    for record in trace.values():
        if match := _END_OF_BLOCK.match(record.path):
            ends[int(match[1])] = record.value  # the last note of a block is its output
    return [start, *ends.values()]
