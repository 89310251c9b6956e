"""The prompt seen as training sees it: what was predicted after each token, the token that came, and its loss."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from openbook.explanation.traced_generation import TracedRun
from openbook.generation.arrays import FloatArray, softmax, top_indices

PREDICTED = 5


@dataclass(frozen=True)
class PromptPosition:
    """One token, and what the model predicted after it.

    Attributes:
        index: of the token.
        predicted: the most probable next tokens, each with its probability.
        came: the token that came; None after the last.
        probability, rank, loss: of the token that came; the rank counts from 1, the loss is −ln of the probability.
    """

    index: int
    predicted: tuple[tuple[int, float], ...]
    came: int | None
    probability: float | None
    rank: int | None
    loss: float | None


def prompt_positions(run: TracedRun) -> Iterator[PromptPosition]:
    """Of every token that a step read, those that the run wrote included."""
    first = run.trace(0)["to_logits.logits"].value[0].float().cpu().numpy()
    later = [run.logits(step.number)[None] for step in run.steps[1:]]
    for index, row in enumerate(np.concatenate([first, *later])):
        came = run.tokens[index + 1] if index + 1 < len(run.tokens) else None
        yield _position(index, softmax(row[None])[0], came)


def _position(index: int, probabilities: FloatArray, came: int | None) -> PromptPosition:
    best = top_indices(probabilities[None], min(PREDICTED, len(probabilities)))[0].tolist()
    predicted = tuple((token, float(probabilities[token])) for token in best)
    if came is None:
        return PromptPosition(index, predicted, None, None, None, None)
    probability = float(probabilities[came])
    rank = 1 + int((probabilities > probabilities[came]).sum())
    loss = float("inf") if probability == 0 else -float(np.log(probability))
    return PromptPosition(index, predicted, came, probability, rank, loss)
