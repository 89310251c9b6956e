"""One sampled answer: what it has produced so far, and how its next token is chosen."""

import math
import secrets

import numpy as np

from openbook.generation.arrays import FloatArray, top_indices
from openbook.generation.batching.events import FinishReason, Token, TokenScore
from openbook.generation.batching.request import BatchRequest
from openbook.generation.generate import check_finite
from openbook.generation.sampling import History, filter_logits, sample, sampling_probabilities
from openbook.generation.settings import Sampling

MAX_SEED = 2**63


class Choice:
    """A row that samples: its tokens, its random numbers, its grammar, its stop check.

    Nothing here depends on other rows, and every token takes one number of the row's own generator, so it is the same
    in any batch, and after its row was read again.

    Args:
        number: of the choice among those of its request.
        request: what was asked.
        sampling: its decoding.
        limit: most tokens to produce.
        vocab_size: number V of tokens.
    """

    def __init__(self, number: int, request: BatchRequest, sampling: Sampling, limit: int, vocab_size: int) -> None:
        self.number, self._request, self._sampling, self._limit = number, request, sampling, limit
        self._prompt_length = len(request.prompt)
        self.tokens = list(request.prompt)
        seed = secrets.randbits(63) if sampling.seed is None else (sampling.seed + number) % MAX_SEED
        self._random = np.random.default_rng(seed)
        self._history = History([self.tokens], vocab_size)
        self._mask = None if request.mask is None else request.mask()
        self._is_stop = None if request.stop is None else request.stop()
        self._scored = request.top_logprobs is not None or request.best_of is not None
        self.log_probability = 0.0 if self._scored else None
        self.finish_reason: FinishReason | None = None

    @property
    def produced(self) -> int:
        """How many tokens it has produced."""
        return len(self.tokens) - self._prompt_length

    @property
    def newest(self) -> int:
        """The last token."""
        return self.tokens[-1]

    def next_token(self, logits: FloatArray) -> Token | None:
        """Choose a token by logits (V,); None if the grammar allows no more, which ends the choice.

        Raises:
            OpenbookError: the logits are not finite.
        """
        check_finite(logits)
        allowed = self._request.rules.apply(
            logits[None],
            lambda: np.array([self.tokens], dtype=np.int64),
            np.array([self.produced]),
            np.array([self.produced + 1 == self._limit]),
        )
        if self._mask is not None:
            allowed = np.where(self._mask.allowed(), allowed, np.float32(-np.inf))
            if not (allowed > -np.inf).any():
                self.finish_reason = "stop"
                return None
        filtered = filter_logits(allowed, self._history, self._sampling)
        if self._sampling.temperature > 0 or self._request.top_logprobs is not None:
            probabilities = sampling_probabilities(filtered, self._sampling)
        if self._sampling.temperature > 0:
            token = int(sample(probabilities, np.array([self._random.random()]))[0])
        else:
            token = int(filtered.argmax())
        self._take(token)
        if not self._scored:
            return Token(self.number, token, finish_reason=self.finish_reason)
        own, top = scores(logits, token, self._request.top_logprobs or 0)
        self.log_probability = (self.log_probability or 0.0) + own
        if self._request.top_logprobs is None:
            return Token(self.number, token, own, finish_reason=self.finish_reason)
        return Token(self.number, token, own, float(probabilities[0, token]), top, self.finish_reason)

    def _take(self, token: int) -> None:
        """Append the token; say why the choice ends with it, if it does."""
        self.tokens.append(token)
        self._history.add(np.array([token]))
        if self._mask is not None:
            self._mask.accept(token)
        if token in self._request.rules.end_ids:
            self.finish_reason = "end"
        elif self._is_stop is not None and self._is_stop(token):
            self.finish_reason = "stop"
        elif self.produced >= self._limit:
            self.finish_reason = "length"


def scores(logits: FloatArray, token: int, count: int) -> tuple[float, tuple[TokenScore, ...]]:
    """The log-probability of a token by logits (V,), and the `count` most probable tokens, best first."""
    shifted = logits - logits.max()
    total = float(np.log(np.exp(shifted).sum(dtype=np.float64)))

    def log_prob(index: int) -> float:
        return float(shifted[index]) - total

    best = top_indices(logits[None], count)[0].tolist() if count else []
    return log_prob(token), tuple(TokenScore(each, log_prob(each)) for each in best)


def mean_log_probability(choice: Choice) -> float:
    """By which `best_of` ranks; −∞ of an empty choice."""
    if choice.log_probability is None or not choice.produced:
        return -math.inf
    return choice.log_probability / choice.produced
