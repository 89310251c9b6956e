"""The logit lens: what the model would say if each layer were its last (nostalgebraist 2020)."""

import re
from dataclasses import dataclass

import torch

from openbook.explanation.run import Explanation

_LAST_OF_BLOCK = re.compile(r"decoder\.blocks\.(\d+)\.feed_forward_residual\.")


@dataclass(frozen=True)
class Reading:
    """What one layer would say after one token.

    `layer` counts from 0; −1 is the embedding, before any layer. `token` is the most probable next token there and
    `probability` how probable; `answer` is the probability there of the token that the last layer finds most probable,
    `rank` its place among all tokens, 1 for the first.
    """

    layer: int
    token: int
    probability: float
    answer: float
    rank: int


@torch.no_grad()
def read_layers(explanation: Explanation, place: int = -1) -> list[Reading]:
    """softmax(logits(final_norm(x))) of the residual stream x (B, T, D) before and after each decoder block.

    Args:
        explanation: the traced run; its first row is read.
        place: the token whose next token is asked for; the last one by default.
    """
    model = explanation.model
    streams = {}
    for record in explanation.trace.values():
        if match := _LAST_OF_BLOCK.match(record.path):
            streams[int(match[1])] = record.value  # the last note of a block is what leaves it
    embedding = explanation.trace[_embedding(explanation)].value
    readings = []
    said = [model.logits(model.decoder.final_norm(x[:1, place])) for x in (embedding, *streams.values())]
    answer = int(said[-1].argmax())
    for layer, logits in enumerate(said, start=-1):
        probability = logits[0].float().softmax(-1)
        first = int(probability.argmax())
        rank = 1 + int((probability > probability[answer]).sum())
        readings.append(Reading(layer, first, probability[first].item(), probability[answer].item(), rank))
    return readings


def _embedding(explanation: Explanation) -> str:
    """The path of what enters the first block: the embedding, normalised where the model does that."""
    normed = "decoder.embedding_norm.output"
    return normed if normed in explanation.trace else "decoder.embedded"
