"""Token generation: a stream of sampled tokens for a batch of prompts of any lengths.

Each row has its own random numbers and leaves the batch when it is finished, so its tokens are the same as alone.
"""

import secrets
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np

from openbook.errors import OpenbookError, SettingError
from openbook.generation.arrays import FloatArray, IntArray, softmax, top_indices
from openbook.generation.engines.engine import Engine
from openbook.generation.padding import left_padded
from openbook.generation.sampling import History, filter_logits, sample, sampling_probabilities
from openbook.generation.settings import Sampling
from openbook.generation.token_rules import NO_RULES, TokenRules
from openbook.text.formatting import format_count

FinishReason = Literal["end", "stop", "length"]
"""Why an answer ended: with an end token, before a stop sequence, or at its limit of tokens."""


class LogitsNotFiniteError(OpenbookError):
    """Logits of a step are NaN or infinite, so no token can be chosen."""


@dataclass(frozen=True)
class TokenProbability:
    """A token that may come next.

    `probability` is the model's own (softmax of its logits); `sampling_probability` is the one after penalties,
    temperature and filters.
    """

    token_id: int
    probability: float
    sampling_probability: float


@dataclass(frozen=True)
class GeneratedToken(TokenProbability):
    """The next token of a row, the most probable other tokens, and why the row ends here if it does."""

    row: int
    top_alternatives: tuple[TokenProbability, ...] = ()
    finish_reason: FinishReason | None = None


class _Row:
    """A sequence: its tokens, the start of the window that the model sees, how many it produced and may produce."""

    def __init__(
        self, number: int, prompt: Sequence[int], limit: int, seed: int | None, written: Sequence[int] = ()
    ) -> None:
        self.number, self.tokens, self.start, self.limit, self.produced = number, list(prompt), 0, limit, 0
        self.written = written
        self.random = np.random.default_rng(secrets.randbits(63) if seed is None else seed)

    def shift_context(self, context: int) -> bool:
        """Forget the oldest tokens if there are more than the context takes; return whether that was so."""
        if len(self.tokens) - self.start <= context:
            return False
        self.start = len(self.tokens) - length_after_shift(context)
        return True

    @property
    def window(self) -> list[int]:
        return self.tokens[self.start :]


def length_after_shift(context: int) -> int:
    """How many of the newest tokens stay when a sequence outgrows the context.

    They are read again as a text of their own, from position 0: every kind of position allows that, and it is how the
    model was trained. Dropping a quarter at a time keeps this rare: on average three tokens of prefill for each new
    token.
    """
    return max(1, context * 3 // 4)


def generate(
    engine: Engine,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    rules: TokenRules = NO_RULES,
    *,
    sources: Sequence[Sequence[int]] | None = None,
    limits: Sequence[int] | None = None,
    is_stopped: Callable[[int], bool] = lambda row: False,
    written: Sequence[Sequence[int]] | None = None,
) -> Generator[GeneratedToken, None, None]:
    """Stream the tokens that follow each prompt, one from each row in turn.

    A sequence that outgrows the context continues from its newest part, see `length_after_shift`; with a source, whose
    positions count too, it ends there. Closing the generator ends all work; nothing is computed ahead.

    Args:
        prompts: token ids, at least one each.
        sampling: how to choose tokens. `stop` is ignored here: stop sequences are text, see `text.stream`.
        rules: tokens that end an answer (they are streamed too), are suppressed, or forced.
        sources: for an encoder-decoder, the source of each prompt.
        limits: how many tokens each prompt may produce; `max_tokens` if None.
        is_stopped: called with each row's number before a step; rows for which it is true leave the batch.
        written: tokens that the answer to each prompt begins with, whatever would be chosen: an answer that was given
            before, computed again.

    Raises:
        OpenbookError: a prompt is empty or has a token that is not in the vocabulary; the logits are not finite.
    """
    _check(engine, prompts, sampling, rules)
    limits = limits or [sampling.max_tokens] * len(prompts)
    if sources is not None:
        limits = limits_in_context(engine, prompts, limits)
    if written is not None and any(token not in range(engine.vocab_size) for row in written for token in row):
        raise OpenbookError(f"a written token is not from 0 to {engine.vocab_size - 1}")
    given = written or [()] * len(prompts)
    rows = [_Row(n, prompt, limits[n], sampling.seed, given[n]) for n, prompt in enumerate(prompts)]
    for row in rows:
        row.shift_context(engine.context)
    session, logits = engine.prefill([row.window for row in rows], sources)
    history = History([row.tokens for row in rows], engine.vocab_size)
    while True:
        generated = _next_tokens(logits, rows, history, sampling, rules)
        yield from generated
        going = [i for i, row in enumerate(rows) if generated[i].finish_reason is None and not is_stopped(row.number)]
        if not going:
            return
        if len(going) < len(rows):
            rows = [rows[i] for i in going]
            history.reorder(going)
            session.reorder(going)
        shifted = [row.shift_context(engine.context) for row in rows]
        if any(shifted):
            session, logits = engine.prefill([row.window for row in rows])
        else:
            logits = session.step(np.array([[generated[i].token_id] for i in going]))[:, 0]


def _check(engine: Engine, prompts: Sequence[Sequence[int]], sampling: Sampling, rules: TokenRules) -> None:
    """Raise OpenbookError for what does not fit the vocabulary."""
    check_prompts(prompts, engine.vocab_size)
    if sampling.top_alternatives >= engine.vocab_size:
        raise SettingError(
            f"`top_alternatives` is {sampling.top_alternatives}; give a whole number from 0 to {engine.vocab_size - 1}"
        )
    check_biases(sampling, engine.vocab_size)
    rules.check(engine.vocab_size)


def check_prompts(prompts: Sequence[Sequence[int]], vocab_size: int) -> None:
    """Raise OpenbookError if there is no prompt, or one is empty or has a token that is not in the vocabulary."""
    if not prompts:
        raise OpenbookError("no prompt to answer; give at least one")
    for number, prompt in enumerate(prompts, start=1):
        if not len(prompt):
            raise OpenbookError(f"prompt {number} is empty; it must have at least one token")
        if min(prompt) < 0 or max(prompt) >= vocab_size:
            raise OpenbookError(f"prompt {number} has a token that is not from 0 to {vocab_size - 1}")


def check_biases(sampling: Sampling, vocab_size: int) -> None:
    """Raise OpenbookError if `logit_bias` names a token that is not in the vocabulary."""
    for token, _ in sampling.logit_bias:
        if token >= vocab_size:
            raise SettingError(f"`logit_bias` names the token {token}; there are tokens from 0 to {vocab_size - 1}")


def check_finite(logits: FloatArray) -> None:
    """Raise LogitsNotFiniteError if a logit is NaN or infinite."""
    if not np.isfinite(logits).all():
        raise LogitsNotFiniteError(
            "the model's logits are not finite: its weights are damaged, or its training went astray"
        )


def limits_in_context(engine: Engine, prompts: Sequence[Sequence[int]], limits: Sequence[int]) -> list[int]:
    """How many tokens each prompt may produce within its limit and the context.

    The last of them is never read, so it needs no place in the context.

    Raises:
        OpenbookError: a prompt is longer than the context.
    """
    for number, prompt in enumerate(prompts, start=1):
        if len(prompt) > engine.context:
            raise OpenbookError(
                f"prompt {number} has {format_count(len(prompt), 'token')}; the model holds {engine.context}"
            )
    return [min(limit, engine.context + 1 - len(prompt)) for limit, prompt in zip(limits, prompts, strict=True)]


def _next_tokens(
    logits: FloatArray, rows: list[_Row], history: History, sampling: Sampling, rules: TokenRules
) -> list[GeneratedToken]:
    """Choose a token for each row from logits (B, V), and append it."""
    check_finite(logits)
    produced = np.array([row.produced for row in rows])
    at_last = np.array([row.limit == row.produced + 1 for row in rows])
    allowed = rules.apply(logits, partial(left_padded, [row.tokens for row in rows]), produced, at_last)
    probabilities = sampling_probabilities(filter_logits(allowed, history, sampling), sampling)
    if sampling.temperature > 0:
        tokens = sample(probabilities, np.array([row.random.random() for row in rows]))
    else:
        tokens = probabilities.argmax(-1)
    for number, row in enumerate(rows):
        if row.produced < len(row.written):
            tokens[number] = row.written[row.produced]
    history.add(tokens)
    described = _described(tokens, softmax(logits), probabilities, sampling.top_alternatives)
    generated = []
    for row, (chosen, *others) in zip(rows, described, strict=True):
        row.tokens.append(chosen.token_id)
        row.produced += 1
        reason: FinishReason | None = "end" if chosen.token_id in rules.end_ids else None
        if reason is None and row.produced == row.limit:
            reason = "length"
        generated.append(
            GeneratedToken(
                chosen.token_id, chosen.probability, chosen.sampling_probability, row.number, tuple(others), reason
            )
        )
    return generated


def _described(
    tokens: IntArray, probability: FloatArray, sampling_probability: FloatArray, alternatives: int
) -> list[list[TokenProbability]]:
    """For each row its token (B,), then the most probable others; probabilities are (B, V)."""
    wanted = tokens[:, None]
    if alternatives:
        others = probability.copy()
        np.put_along_axis(others, wanted, -1.0, -1)
        wanted = np.concatenate((wanted, top_indices(others, alternatives)), axis=1)
    columns = [
        each.tolist()
        for each in (
            wanted,
            np.take_along_axis(probability, wanted, -1),
            np.take_along_axis(sampling_probability, wanted, -1),
        )
    ]
    return [[TokenProbability(*each) for each in zip(*row, strict=True)] for row in zip(*columns, strict=True)]
