"""The logit lens: what the model would predict if each layer were its last (nostalgebraist 2020)."""

import re
from dataclasses import dataclass

import torch
from torch import Tensor

from openbook.explanation.run import Explanation

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
    model = explanation.model
    streams = [x[:1, index] for x in _residual_streams(explanation)]
    probabilities = [model.logits(model.decoder.final_norm(x))[0].float().softmax(-1) for x in streams]
    answer = int(probabilities[-1].argmax())
    predictions = []
    for layer, each in enumerate(probabilities, start=-1):
        first = int(each.argmax())
        rank = 1 + int((each > each[answer]).sum())
        predictions.append(LensPrediction(layer, first, each[first].item(), each[answer].item(), rank))
    return predictions


def _residual_streams(explanation: Explanation) -> list[Tensor]:
    """The residual stream (B, T, D) before the first block, then after each block."""
    trace = explanation.trace
    normalized = "decoder.embedding_norm.output"
    start = trace[normalized if normalized in trace else "decoder.embedded"].value
    ends = {}
    for record in trace.values():
        if match := _END_OF_BLOCK.match(record.path):
            ends[int(match[1])] = record.value  # the last note of a block is its output
    return [start, *ends.values()]
