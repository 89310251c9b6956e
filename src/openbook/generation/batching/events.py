"""What becomes of a request, piece by piece."""

from dataclasses import dataclass
from typing import Literal

from openbook.generation import generate

FinishReason = generate.FinishReason | Literal["cancelled"]
"""Why a choice ended: see `generate.FinishReason`; or because nobody waits for it any more."""


@dataclass(frozen=True)
class TokenScore:
    """A token and the logarithm of the probability that the model itself gives it."""

    token_id: int
    log_prob: float


@dataclass(frozen=True)
class PromptRead:
    """The prompt has been read: always the first event, unless the request is cancelled or fails before.

    Attributes:
        prompt_tokens: how many it has.
        reused_tokens: how many of them were in the prefix cache.
        log_probs: of each token given those before it, None for the first; empty unless they were asked for.
        top: the most probable tokens in each one's place, best first; the first has none.
    """

    prompt_tokens: int
    reused_tokens: int
    log_probs: tuple[float | None, ...] = ()
    top: tuple[tuple[TokenScore, ...], ...] = ()


@dataclass(frozen=True)
class Token:
    """The next token of a choice.

    Attributes:
        choice: its number.
        token_id: the token; one that ends the answer comes too, and is not to be shown.
        log_prob: by the model's own probabilities; None unless log-probabilities were asked for, and of beams.
        sampling_probability: the probability after penalties, temperature and filters; likewise.
        top: the most probable tokens, best first, the chosen one perhaps among them.
        finish_reason: set on the last.
    """

    choice: int
    token_id: int
    log_prob: float | None = None
    sampling_probability: float | None = None
    top: tuple[TokenScore, ...] = ()
    finish_reason: FinishReason | None = None


@dataclass(frozen=True)
class Finished:
    """A choice is complete; each has exactly one of these, unless the request fails.

    Attributes:
        choice: its number.
        finish_reason: why it ended.
        tokens: how many it has, one that ends it included.
        log_probability: Σ log p of them, where it is known.
        score: by which choices are ranked: of a beam its score, with `best_of` the mean log p.
    """

    choice: int
    finish_reason: FinishReason
    tokens: int
    log_probability: float | None = None
    score: float | None = None


@dataclass(frozen=True)
class Failed:
    """The request could not be answered; nothing follows.

    Attributes:
        error_id: names this failure, here and in a log.
        message: fit to be shown.
        error: what happened; for the log alone.
    """

    error_id: str
    message: str
    error: Exception


Event = PromptRead | Token | Finished | Failed
