"""The prompt seen as training sees it: what was predicted after each token, the token that came, and its loss."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from openbook.explanation.traced_generation import TracedRun

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


@torch.no_grad()
def prompt_positions(run: TracedRun) -> Iterator[PromptPosition]:
    """Of every token that a step read, those that the run wrote included."""
    first = run.trace(0)["to_logits.logits"].value[0].float().cpu()
    logits = torch.cat([first, *(torch.from_numpy(run.logits(step.number))[None] for step in run.steps[1:])])  # (T, V)
    total = logits.logsumexp(-1)
    best = logits.topk(min(PREDICTED, logits.shape[1]))
    predicted = (best.values - total[:, None]).exp()
    following = logits.gather(1, torch.tensor(run.tokens[1:])[:, None])
    loss, rank = total - following[:, 0], 1 + (logits > following).sum(-1)
    known = run.prompt_length + len(run.written)
    for index in range(len(logits)):
        options = tuple(zip(best.indices[index].tolist(), predicted[index].tolist(), strict=True))
        if index + 1 < known:
            token_loss = loss[index].item()
            yield PromptPosition(
                index, options, run.tokens[index + 1], math.exp(-token_loss), int(rank[index]), abs(token_loss)
            )
        else:
            yield PromptPosition(index, options, None, None, None, None)
