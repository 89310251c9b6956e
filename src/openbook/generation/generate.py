"""Generation: a stream of chosen tokens over an engine, for a batch of prompts of any lengths.

Each row has its own random numbers and leaves the batch when it is finished, so its tokens are those that it would
get alone.
"""

import secrets
from collections.abc import Callable, Collection, Generator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from openbook.errors import OpenbookError
from openbook.generation.engines.torch_engine import Engine
from openbook.generation.padding import padded
from openbook.generation.sampling import History, chances, draw, filtered
from openbook.generation.settings import Sampling
from openbook.generation.token_rules import NO_RULES, TokenRules

Finish = Literal["end", "stop", "length"]
"""Why an answer is over: the model ended its text, a stop text came, or max_tokens are there."""


@dataclass(frozen=True)
class Candidate:
    """A token that could come next.

    `probability` is the model's own (softmax of its logits), `chance` that after penalties, temperature and filters.
    """

    token: int
    probability: float
    chance: float


@dataclass(frozen=True)
class Chosen(Candidate):
    """The token that came next in a row, the most probable others, and why the row ends here if it does."""

    row: int
    runners_up: tuple[Candidate, ...] = ()
    finish: Finish | None = None


class _Row:
    """One sequence: all its tokens, the first of them that is in the model's context, and how many it may produce."""

    def __init__(self, number: int, prompt: Sequence[int], limit: int, seed: int | None) -> None:
        self.number, self.tokens, self.start, self.limit, self.produced = number, list(prompt), 0, limit, 0
        self.random = torch.Generator().manual_seed(secrets.randbits(63) if seed is None else seed)

    def slide(self, context: int) -> bool:
        """Move the window on if it holds more than the context does; whether it had to."""
        if len(self.tokens) - self.start <= context:
            return False
        self.start = len(self.tokens) - kept(context)
        return True

    @property
    def window(self) -> list[int]:
        return self.tokens[self.start :]


def kept(context: int) -> int:
    """How many of the newest tokens stay when a sequence outgrows the context.

    Those are read again as a text of their own, from position 0, which every kind of position allows; it is what the
    model was trained on, and the page shows. Letting go of a quarter at a time keeps this rare: on average it
    costs three more tokens of prefill for each token.
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
    end_ids: Collection[int] = (),
    runners_up: int = 0,
    stopped: Callable[[int], bool] = lambda row: False,
) -> Generator[Chosen, None, None]:
    """The tokens that follow each prompt, as they are chosen: one from each row in turn.

    What outgrows the engine's context is read from its last part on, see `kept`; beside a source, where positions in
    both count, it ends there. Closing the generator ends all work; nothing is computed ahead of what is asked for.

    Args:
        prompts: token ids, at least one each.
        sampling: how to choose; `stop` is for those who know text, see `text.stream`.
        rules: tokens that are never chosen, or forced.
        sources: for an encoder-decoder, what it reads beside each prompt.
        limits: how many tokens each prompt may produce; `max_tokens` if None.
        end_ids: tokens that end an answer. They are given too, with the finish "end".
        runners_up: how many of the most probable other tokens to give with each.
        stopped: asked before each step; rows for which it says True leave the batch.

    Raises:
        OpenbookError: a prompt is empty or has a token that is not in the vocabulary; the logits are not finite.
    """
    check_prompts(prompts, engine.vocab_size)
    if not 0 <= runners_up < engine.vocab_size:
        raise OpenbookError(f"runners_up is {runners_up}; give a whole number from 0 to {engine.vocab_size - 1}")
    rules.check(engine.vocab_size)
    limits = limits or [sampling.max_tokens] * len(prompts)
    if sources is not None:
        limits = limits_in_context(engine, prompts, limits)
    rows = [_Row(number, prompt, limits[number], sampling.seed) for number, prompt in enumerate(prompts)]
    for row in rows:
        row.slide(engine.context)
    session, logits = engine.prefill([row.window for row in rows], sources)
    history = History([row.tokens for row in rows], engine.vocab_size, logits.device)
    while True:
        chosen = _choose(logits, rows, history, sampling, rules, runners_up, end_ids)
        yield from chosen
        going = [i for i, row in enumerate(rows) if chosen[i].finish is None and not stopped(row.number)]
        if not going:
            return
        tokens = torch.tensor([chosen[i].token for i in going], device=logits.device)
        if len(going) < len(rows):
            left = torch.tensor(going, device=logits.device)
            rows = [rows[i] for i in going]
            history.reorder(left)
            session.reorder(left)
        slid = [row.slide(engine.context) for row in rows]
        if any(slid):
            session, logits = engine.prefill([row.window for row in rows])
        else:
            logits = session.step(tokens)


def check_prompts(prompts: Sequence[Sequence[int]], vocab_size: int) -> None:
    """Raise OpenbookError if there is no prompt, or one is empty or has a token that is not in the vocabulary."""
    if not prompts:
        raise OpenbookError("no prompt to answer; give at least one")
    for number, prompt in enumerate(prompts, start=1):
        if not len(prompt):
            raise OpenbookError(f"prompt {number} is empty; it must have at least one token")
        if min(prompt) < 0 or max(prompt) >= vocab_size:
            raise OpenbookError(f"prompt {number} has a token that is not from 0 to {vocab_size - 1}")


def limits_in_context(engine: Engine, prompts: Sequence[Sequence[int]], limits: Sequence[int]) -> list[int]:
    """How many tokens each prompt may produce within the context, and its limit.

    The last of them is never read, and needs no place in the context.

    Raises:
        OpenbookError: a prompt is longer than the context.
    """
    for number, prompt in enumerate(prompts, start=1):
        if len(prompt) > engine.context:
            raise OpenbookError(f"prompt {number} has {len(prompt)} tokens; the model holds {engine.context}")
    return [min(limit, engine.context + 1 - len(prompt)) for limit, prompt in zip(limits, prompts, strict=True)]


def _choose(
    logits: Tensor,
    rows: list[_Row],
    history: History,
    sampling: Sampling,
    rules: TokenRules,
    runners_up: int,
    end_ids: Collection[int],
) -> list[Chosen]:
    """Choose a token for each row from logits (B, V) and write it down."""
    if not logits.isfinite().all():
        raise OpenbookError("the model's logits are not finite: its weights are damaged, or its training went astray")
    produced = torch.tensor([row.produced for row in rows], device=logits.device)
    last = torch.tensor([row.limit == row.produced + 1 for row in rows], device=logits.device)
    tokens_so_far = partial(padded, [row.tokens for row in rows], logits.device)
    allowed = rules.apply(logits.clone(), tokens_so_far, produced, last, end_ids)
    chance = chances(filtered(allowed, history, sampling), sampling)
    if sampling.temperature > 0:
        tokens = draw(chance, torch.stack([torch.rand((), generator=row.random, dtype=torch.float64) for row in rows]))
    else:
        tokens = chance.argmax(-1)
    history.add(tokens)
    candidates = _candidates(logits.softmax(-1), chance, tokens, runners_up)
    chosen = []
    for row, (first, *others) in zip(rows, candidates, strict=True):
        row.tokens.append(first.token)
        row.produced += 1
        finish: Finish | None = "end" if first.token in end_ids else None
        if finish is None and row.produced == row.limit:
            finish = "length"
        chosen.append(Chosen(first.token, first.probability, first.chance, row.number, tuple(others), finish))
    return chosen


def _candidates(probability: Tensor, chance: Tensor, tokens: Tensor, runners_up: int) -> list[list[Candidate]]:
    """For each row the chosen token, then the most probable others."""
    wanted = tokens[:, None]
    if runners_up:
        others = probability.scatter(1, wanted, -1.0).topk(runners_up).indices
        wanted = torch.cat((wanted, others), dim=1)
    columns = (wanted.tolist(), probability.gather(1, wanted).tolist(), chance.gather(1, wanted).tolist())
    return [[Candidate(*each) for each in zip(*row, strict=True)] for row in zip(*columns, strict=True)]
