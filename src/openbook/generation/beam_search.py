"""Beam search: the likeliest sequences, found by following the `beams` best beginnings of each at once.

A beginning is worth Σ log p(token); a finished sequence Σ log p(token) / lengthᵖ, where p is the length penalty
(Wu et al. 2016, section 7, without their constant). What stays open at a step are the best continuations of all
beams that do not end; one that ends is finished if it is among the `beams` best of all.
"""

import bisect
import math
import threading
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from openbook.errors import OpenbookError
from openbook.generation.beam_trace import BeamTrace
from openbook.generation.engines.torch_engine import Engine, Session
from openbook.generation.generate import Finish, check_prompts, limits_in_context
from openbook.generation.padding import NOTHING, below_each_other, first_used, padded
from openbook.generation.scheduling import batches
from openbook.generation.settings import BeamSearch
from openbook.generation.token_rules import NO_RULES, TokenRules
from openbook.generation.topk import Continuations, Flags, Numbers, Sums, largest

PIECE_TOKENS = 1024
"""Tokens that are read at once."""
LATE = 1 / 4
"""Share of a batch that is put aside when only so many of its rows are left."""
MANY = 64
"""Beams that are worth a batch of their own: a step for more of them costs nearly as much more."""
LEAVING = 16
"""Rows that are over leave the batch when they are one in so many: it costs a copy of those that take their places."""


@dataclass(frozen=True)
class Hypothesis:
    """One finished sequence: the tokens produced (the end token too), its Σ log p, its score, and why it ended."""

    tokens: tuple[int, ...]
    log_probability: float
    score: float
    finish: Finish


@dataclass(frozen=True)
class Found:
    """The n-best hypotheses of prompt number `row`, best first."""

    row: int
    hypotheses: tuple[Hypothesis, ...]


@dataclass(frozen=True)
class Prompt:
    """What the beams of a row begin with: token ids, the source beside them, and how many tokens it may produce."""

    row: int
    ids: Sequence[int]
    source: Sequence[int] | None = None
    limit: int | None = None

    @property
    def length(self) -> int:
        """Tokens to read before the first is produced."""
        return len(self.ids if self.source is None else self.source)


class _Row:
    """One prompt: how many tokens it may produce, and the best of what has finished so far."""

    def __init__(self, prompt: Prompt, limit: int, beams: BeamSearch) -> None:
        self.number, self.limit, self._beams = prompt.row, limit, beams
        self.finished: list[Hypothesis] = []

    def add(self, hypothesis: Hypothesis) -> None:
        bisect.insort(self.finished, hypothesis, key=lambda each: -each.score)
        del self.finished[self._beams.beam_size :]

    @property
    def found(self) -> Found:
        """What it has come to."""
        return Found(self.number, tuple(self.finished[: self._beams.n_best]))

    @property
    def _wanted(self) -> int:
        return self._beams.n_best if self._beams.early_stopping == "never" else self._beams.beam_size

    @property
    def has_enough(self) -> bool:
        """Whether enough have finished to end, if no open beam can be better."""
        return len(self.finished) >= self._wanted

    def is_over(self, best_open: float, produced: int) -> bool:
        """Whether to end, when so many tokens are produced and the best open beam has this Σ log p."""
        if best_open == -torch.inf or produced >= self.limit:
            return True
        if not self.has_enough:
            return False
        if self._beams.early_stopping == "always" or self._beams.beam_size == 1:
            return True
        return self._beams.score(best_open, self._length_to_hope_for(produced)) <= self.finished[self._wanted - 1].score

    def _length_to_hope_for(self, produced: int) -> int:
        """Sums only fall, so a longer sequence gains by its length alone: most at the limit, or for p < 0 at once."""
        if self._beams.early_stopping == "never":
            return self.limit if self._beams.length_penalty > 0 else produced + 1
        return produced


def beam_search(
    engine: Engine,
    prompts: Sequence[Sequence[int]],
    beams: BeamSearch,
    rules: TokenRules = NO_RULES,
    *,
    sources: Sequence[Sequence[int]] | None = None,
    limits: Sequence[int] | None = None,
    end_ids: Collection[int] = (),
    trail: BeamTrace | None = None,
) -> Generator[Found, None, None]:
    """The n-best continuations of each prompt, in the order in which they are found; finished rows leave the batch.

    Args:
        prompts: token ids, at least one each and at most the engine's context.
        beams: how wide to search, what a sequence scores, when to end.
        rules: tokens that are never produced, or forced. Probabilities are the model's own, and 1 of what is forced.
        sources: for an encoder-decoder, what it reads beside each prompt.
        limits: how many tokens each prompt may produce; `max_tokens` if None.
        end_ids: tokens that end a sequence.
        trail: is told of every beam at every step.

    Raises:
        OpenbookError: a prompt is empty, too long, or has a token that is not in the vocabulary; the rules do not fit
            the vocabulary; the logits are not finite.
    """
    check_prompts(prompts, engine.vocab_size)
    engine.check_sources(prompts, sources)
    batch = [
        Prompt(row, ids, None if sources is None else sources[row], None if limits is None else limits[row])
        for row, ids in enumerate(prompts)
    ]
    all_at_once = iter([batch])
    yield from search_through(engine, lambda: next(all_at_once, []), beams, rules, end_ids=end_ids, trail=trail)


More = Callable[[], Sequence[Prompt]]
"""Gives the next prompts to work on together; [] when there are none."""


def search_through(
    engine: Engine,
    more: More,
    beams: BeamSearch,
    rules: TokenRules = NO_RULES,
    *,
    end_ids: Collection[int] = (),
    trail: BeamTrace | None = None,
    late: "Late | None" = None,
    ending: Callable[[], bool] = lambda: True,
) -> Generator[Found, None, None]:
    """The same for any number of prompts, batch by batch; arguments as for `beam_search`, but for `more`.

    A few rows of each batch go on long after the others, and a step costs almost as much for them as for many. So they
    are put aside, and go on together when they are many, or when no more than one batch is to come, `ending`: they take
    long, and threads that are left with the short ones end together. Each row is what it would be alone. Searches on
    several threads may put theirs aside together, `late`.
    """
    rules.check(engine.vocab_size)
    late = late or Late()
    while prompts := more():
        batch: _Batch | None = _Batch(engine, prompts, beams, rules, end_ids)
        while batch is not None:
            yield from batch.run(trail, LATE * len(batch.rows))
            batch = late.put(batch, 1 if ending() else min(len(prompts), max(1, MANY // beams.beam_size)))
    while (batch := late.take()) is not None:
        yield from batch.run(trail)


class Late:
    """Rows that are put aside until they are many, or nothing else is left to do."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._batch: _Batch | None = None

    def put(self, batch: "_Batch", enough: int) -> "_Batch | None":
        """Put its rows aside; all that are there come back if they are `enough`."""
        with self._lock:
            if self._batch is None:
                self._batch = batch if batch.rows else None
            elif batch.rows:
                self._batch.join(batch)
            return self._taken() if self._batch is not None and len(self._batch.rows) >= enough else None

    def take(self) -> "_Batch | None":
        """All that are there."""
        with self._lock:
            return self._taken()

    def _taken(self) -> "_Batch | None":
        batch, self._batch = self._batch, None
        return batch


class _Batch:
    """Rows under way: the tokens (B, W, T) of their open beams, prompts too, and Σ log p (B, W), best first.

    All that is known of them is few numbers, which stay with the processor and are worked on by NumPy: on a GPU, too,
    a step then has to wait for it but once.
    """

    def __init__(
        self, engine: Engine, prompts: Sequence[Prompt], beams: BeamSearch, rules: TokenRules, end_ids: Collection[int]
    ) -> None:
        ids = [prompt.ids for prompt in prompts]
        check_prompts(ids, engine.vocab_size)
        asked = [beams.max_tokens if prompt.limit is None else prompt.limit for prompt in prompts]
        limits = limits_in_context(engine, ids, asked)
        rows = [_Row(*each, beams) for each in zip(prompts, limits, strict=True)]
        pieces = list(batches([prompt.length for prompt in prompts], PIECE_TOKENS))
        self.rows = [rows[place] for piece in pieces for place in piece]
        ids = [ids[place] for piece in pieces for place in piece]
        self._session, logits = _read(engine, [[prompts[place] for place in piece] for piece in pieces])
        self._first: Tensor | None = logits[:, None]
        self._device = logits.device
        self._beams, self._rules, self._end_ids = beams, rules, sorted(end_ids)
        self._never = torch.tensor(rules.never, dtype=torch.long, device=logits.device)
        self._ends = np.zeros(engine.vocab_size, dtype=bool)
        self._ends[[token for token in end_ids if token < engine.vocab_size]] = True
        self._tokens: Numbers = padded(ids, torch.device("cpu"))[:, None].numpy()
        self._sums: Sums = np.zeros((len(prompts), 1), dtype=np.float32)
        self._limits: Numbers = np.array([row.limit for row in self.rows])
        self._produced: Numbers = np.zeros_like(self._limits)
        self._have_enough: Flags = np.zeros(len(prompts), dtype=bool)
        self._over: list[int] = []  # the places of rows that are over and have not left

    def run(self, trail: BeamTrace | None, few: float = 0) -> Iterator[Found]:
        """The rows that are over, step by step, until no more than so `few` are left."""
        while len(self.rows) > few:
            yield from self._advance(trail)

    def _step(self) -> Tensor:
        """The logits (B, W, V) after the newest tokens."""
        if self._first is not None:
            logits, self._first = self._first, None
            return logits
        newest = self._to_device(self._tokens[..., -1])
        if self._beams.beam_size > 1:
            return self._session.step(newest)
        return self._session.step(newest[:, 0])[:, None]

    def _to_device(self, numbers: Numbers | Sums | Flags) -> Tensor:
        return torch.from_numpy(numbers).to(self._device)

    def join(self, other: "_Batch") -> None:
        """The rows of another batch follow those of this one."""
        self._leave()
        other._leave()
        self._session.join([other._session])
        mine, others = torch.from_numpy(self._tokens), torch.from_numpy(other._tokens)
        self._tokens = below_each_other([mine[..., first_used(mine) :], others], NOTHING).numpy()
        self._sums = np.concatenate((self._sums, other._sums))
        self._limits = np.concatenate((self._limits, other._limits))
        self._produced = np.concatenate((self._produced, other._produced))
        self._have_enough = np.concatenate((self._have_enough, other._have_enough))
        self.rows = [*self.rows, *other.rows]

    def _advance(self, trail: BeamTrace | None) -> Iterator[Found]:
        """One step; gives the rows that are over, which leave, at once or with the next."""
        parents, over = self._choose(trail)
        yield from (row.found for row in over)
        if len(self._over) == len(self.rows):
            self.rows = []
            return
        if self._beams.beam_size > 1:
            self._session.branch(self._to_device(parents))
        if self._crowded:
            self._leave()

    def _choose(self, trail: BeamTrace | None) -> tuple[Numbers, list[_Row]]:
        """Which beam each of those now open goes on from, (B, W), and the rows that are over."""
        last = self._produced + 1 == self._limits
        sums, parents, tokens = self._candidates(last)
        ends = self._ends[tokens]
        self._produced = self._produced + 1
        over, beams = ends | last[:, None], self._beams.beam_size
        finished = over[:, :beams] & (sums[:, :beams] > -np.inf)
        for place, which in np.argwhere(finished).tolist():
            self._finish(place, parents[place, which], sums[place, which], tokens[place, which])
        # A stable sort: those that go on first, best first.
        going = over.argsort(axis=1, kind="stable")[:, :beams]
        self._sums = np.where(_at(over, going), np.float32(-np.inf), _at(sums, going))
        if trail is not None:
            self._tell(trail, finished, going, sums, parents, tokens)
        parents, tokens = _at(parents, going), _at(tokens, going)
        self._tokens = np.concatenate((_at(self._tokens, parents), tokens[..., None]), axis=-1)
        best = self._sums[:, 0]
        # Of all others it is known that they go on.
        ask = self._have_enough | last | (best == -np.inf)
        ask[self._over] = False
        asked = ask.nonzero()[0].tolist()
        gone = [place for place in asked if self.rows[place].is_over(float(best[place]), int(self._produced[place]))]
        self._sums[gone] = -np.inf
        self._over += gone
        return parents, [self.rows[place] for place in gone]

    def _finish(self, place: int, parent: int, total: float, token: int) -> None:
        """Keep what finishes in the row at this place: a beam and the token that follows it."""
        row, count = self.rows[place], int(self._produced[place])
        before = self._tokens[place, parent, self._tokens.shape[-1] - count + 1 :].tolist()
        finish: Finish = "end" if self._ends[token] else "length"
        row.add(Hypothesis((*before, int(token)), float(total), self._beams.score(float(total), count), finish))
        self._have_enough[place] = row.has_enough

    @property
    def _crowded(self) -> bool:
        """Whether rows that are over have to leave: enough to be worth the copy, or some without room to go on."""
        if len(self._over) * LEAVING >= len(self.rows):
            return True
        return bool((self._produced[self._over] >= self._limits[self._over]).any())

    def _leave(self) -> None:
        """Drop the rows that are over, the last others taking their places."""
        if not self._over:
            return
        over = set(self._over)
        going = [place for place in range(len(self.rows)) if place not in over]
        last = iter(place for place in going if place >= len(going))
        places = [next(last) if place in over else place for place in range(len(going))]
        self.rows, self._over = [self.rows[place] for place in places], []
        self._sums, self._tokens = self._sums[places], self._tokens[places]
        self._limits, self._produced = self._limits[places], self._produced[places]
        self._have_enough = self._have_enough[places]
        self._session.reorder(torch.tensor(places, device=self._device))

    def _candidates(self, last: Flags) -> Continuations:
        """The best continuations of each row, where `last` (B,) says whether it is the last that the row may produce.

        There are enough of them for `beams` to go on even if each beam's best continuations are all its ends.
        """
        # One beam is over when it ends, and needs nothing to go on with.
        beams = self._beams.beam_size
        count = 1 if beams == 1 else max(2, 1 + len(self._end_ids)) * beams
        if self._first is None and self._rules.plain:
            found = self._session.likeliest(self._tokens[..., -1], self._sums, self._never, count)
        else:
            found = self._allowed(last, count)
        if math.isnan(found.sums[:, 0].sum()):
            raise OpenbookError("the model's logits are not finite: its weights are damaged, or training went astray")
        if (missing := beams - found.sums.shape[1]) > 0:  # of few words there are fewer beginnings than beams at first
            room = (0, 0), (0, missing)
            return Continuations(
                np.pad(found.sums, room, constant_values=-np.inf), *(np.pad(each, room) for each in found[1:])
            )
        return found

    @torch.inference_mode()
    def _allowed(self, last: Flags, count: int) -> Continuations:
        """The best of what the rules let follow."""
        scores = self._step().log_softmax(-1)
        produced, is_last = self._to_device(self._produced), self._to_device(last)
        scores = self._rules.apply(scores, lambda: self._to_device(self._tokens), produced, is_last, self._end_ids)
        sums, places = largest(scores, self._to_device(self._sums), count)
        return Continuations.of(sums.cpu().numpy(), places.cpu().numpy(), scores.shape[-1])

    def _tell(
        self, trail: BeamTrace, finished: Flags, going: Numbers, sums: Sums, parents: Numbers, tokens: Numbers
    ) -> None:
        """Tell the trail what ended and what goes on."""
        for place, row in enumerate(self.rows):
            steps = list(zip(parents[place].tolist(), tokens[place].tolist(), sums[place].tolist(), strict=True))
            live = (self._sums[place] > -np.inf).tolist()
            trail.note(
                row.number,
                [steps[each] for each in finished[place].nonzero()[0].tolist()],
                [steps[each] for each, alive in zip(going[place].tolist(), live, strict=True) if alive],
            )


def _read(engine: Engine, pieces: Sequence[Sequence[Prompt]]) -> tuple[Session, Tensor]:
    """A session of all prompts, read piece by piece: so there is less padding, and what a piece needs stays at hand."""
    begun = []
    for piece in pieces:
        sources = [prompt.source for prompt in piece if prompt.source is not None]
        begun.append(engine.prefill([prompt.ids for prompt in piece], sources or None))
    sessions, logits = zip(*begun, strict=True)
    if len(sessions) > 1:
        sessions[0].join(sessions[1:])
    return sessions[0], torch.cat(logits)


def _at(values: Any, places: Numbers) -> Any:
    """values (B, C, …) at places (B, W) of each row → (B, W, …)."""
    if values.shape[1] == places.shape[1] == 1:
        return values
    return values[np.arange(len(values))[:, None], places]
