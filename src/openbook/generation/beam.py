"""Beam search: the likeliest sequences, found by following the `beams` best beginnings of each at once.

A beginning is worth Σ log p(token); a finished sequence Σ log p(token) / lengthᵖ, where p is the length penalty
(Wu et al. 2016, section 7, without their constant). What stays open at a step are the best continuations of all
beams that do not end; one that ends is finished if it is among the `beams` best of all.
"""

import bisect
from collections.abc import Collection, Generator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from openbook.errors import OpenbookError
from openbook.generation.engine import Engine
from openbook.generation.generate import Finish, check_prompts, limits_in_context, padded
from openbook.generation.largest import largest
from openbook.generation.settings import Beams
from openbook.generation.token_rules import NO_RULES, TokenRules
from openbook.generation.trail import Trail

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


class _Row:
    """One prompt: how many tokens it may produce, and the best of what has finished so far."""

    def __init__(self, number: int, limit: int, beams: Beams) -> None:
        self.number, self.limit, self._beams = number, limit, beams
        self.finished: list[Hypothesis] = []
        self.over = False

    def add(self, hypothesis: Hypothesis) -> None:
        bisect.insort(self.finished, hypothesis, key=lambda each: -each.score)
        del self.finished[self._beams.beams :]

    def is_over(self, best_open: float, produced: int) -> bool:
        """Whether to end, when the best open beam has this Σ log p after so many tokens."""
        if best_open == -torch.inf or produced >= self.limit:
            return True
        wanted = self._beams.n_best if self._beams.until == "sure" else self._beams.beams
        if len(self.finished) < wanted:
            return False
        if self._beams.until == "full" or self._beams.beams == 1:
            return True
        return self._beams.score(best_open, self._length_to_hope_for(produced)) <= self.finished[wanted - 1].score

    def _length_to_hope_for(self, produced: int) -> int:
        """Sums only fall, so a longer sequence gains by its length alone: most at the limit, or for p < 0 at once."""
        if self._beams.until == "sure":
            return self.limit if self._beams.length_penalty > 0 else produced + 1
        return produced


def beam_search(
    engine: Engine,
    prompts: Sequence[Sequence[int]],
    beams: Beams,
    rules: TokenRules = NO_RULES,
    *,
    sources: Sequence[Sequence[int]] | None = None,
    limits: Sequence[int] | None = None,
    end_ids: Collection[int] = (),
    trail: Trail | None = None,
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
    check_prompts(prompts, engine.vocabulary)
    rules.check(engine.vocabulary)
    limits = limits_in_context(engine, prompts, limits or [beams.max_tokens] * len(prompts))
    rows = [_Row(number, limit, beams) for number, limit in enumerate(limits)]
    session, logits = engine.prefill(prompts, sources)
    state = _State(rows, padded(prompts, logits.device), beams, rules, end_ids)
    logits = logits[:, None]
    while True:
        parents, over = state.advance(logits, trail)
        for row in over:
            yield Found(row.number, tuple(row.finished[: beams.n_best]))
        if state.is_empty:
            return
        if beams.beams > 1:
            session.branch(parents)
        if state.crowded:
            session.reorder(state.leave())
        logits = session.step(state.newest) if beams.beams > 1 else session.step(state.newest[:, 0])[:, None]


class _State:
    """The open beams of all rows: their prompts (B, P), tokens (B, W, T) and Σ log p (B, W), best first."""

    def __init__(
        self, rows: list[_Row], prompts: Tensor, beams: Beams, rules: TokenRules, end_ids: Collection[int]
    ) -> None:
        self.rows, self._prompts, self._beams, self._rules = rows, prompts, beams, rules
        device = prompts.device
        self._end_ids = sorted(end_ids)
        self._ends = torch.tensor(self._end_ids, dtype=torch.long, device=device)
        self._limits = torch.tensor([row.limit for row in rows], device=device)
        self._sums = torch.zeros(len(rows), 1, device=device)
        self._tokens = torch.zeros(len(rows), 1, 0, dtype=torch.long, device=device)

    @property
    def newest(self) -> Tensor:
        """The last token of each open beam, (B, W)."""
        return self._tokens[..., -1]

    def advance(self, logits: Tensor, trail: Trail | None) -> tuple[Tensor, list[_Row]]:
        """One step from logits (B, W, V): which beam each of those now open goes on from, and the rows that are over.

        Those stay, without an open beam, until they `leave`.
        """
        sums, parents, tokens, ends = self._candidates(logits)
        produced = self._tokens.shape[-1] + 1
        at_limit = (self._limits == produced)[:, None]
        over = ends | at_limit
        finished = over[:, : self._beams.beams] & (sums[:, : self._beams.beams] > -torch.inf)
        for row, place in finished.nonzero().tolist():
            before = self._tokens[row, parents[row, place]].tolist()
            self.rows[row].add(
                Hypothesis(
                    (*before, int(tokens[row, place])),
                    total := float(sums[row, place]),
                    self._beams.score(total, produced),
                    "end" if ends[row, place] else "length",
                )
            )
        # A stable sort: those that go on first, best first.
        going = over.to(torch.uint8).argsort(dim=1, stable=True)[:, : self._beams.beams]
        self._sums = sums.masked_fill(over, -torch.inf).gather(1, going)
        if trail is not None:
            self._tell(trail, finished, going, sums, parents, tokens)
        parents, tokens = parents.gather(1, going), tokens.gather(1, going)
        self._tokens = torch.cat((_of_beams(self._tokens, parents), tokens[..., None]), dim=-1)
        gone = []
        for place, best in enumerate(self._sums[:, 0].tolist()):
            row = self.rows[place]
            if not row.over and row.is_over(best, produced):
                row.over = True
                gone.append(row)
        if gone:
            self._sums.masked_fill_(torch.tensor([[row.over] for row in self.rows], device=over.device), -torch.inf)
        return parents, gone

    @property
    def is_empty(self) -> bool:
        """Whether all rows are over."""
        return all(row.over for row in self.rows)

    @property
    def crowded(self) -> bool:
        """Whether rows that are over have to leave: enough to be worth the copy, or some without room to go on."""
        produced, over = self._tokens.shape[-1], [row for row in self.rows if row.over]
        return len(over) * LEAVING >= len(self.rows) or any(produced >= row.limit for row in over)

    def leave(self) -> Tensor:
        """Drop the rows that are over, the last others taking their places; gives the places of those that stay."""
        going = [place for place, row in enumerate(self.rows) if not row.over]
        last = iter(place for place in going if place >= len(going))
        places = [next(last) if row.over else place for place, row in enumerate(self.rows[: len(going)])]
        left = torch.tensor(places, device=self._sums.device)
        self.rows, self._prompts = [self.rows[place] for place in places], self._prompts[left]
        self._sums, self._tokens, self._limits = self._sums[left], self._tokens[left], self._limits[left]
        return left

    def _candidates(self, logits: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The best continuations of each row, best first: Σ log p, beam, token and whether that ends it; each (B, C).

        There are enough of them for `beams` to go on even if each beam's best continuations are all its ends.
        """
        produced = self._tokens.shape[-1]
        log_probability = logits.log_softmax(-1)
        last = self._limits == produced + 1
        log_probability = self._rules.apply(log_probability, self._all_tokens, produced, last, self._end_ids)
        # The best of all are among the best of each beam: two small searches in place of a large sum and search.
        # One beam is over when it ends, and needs nothing to go on with.
        beams = self._beams.beams
        count = 1 if beams == 1 else max(2, 1 + len(self._end_ids)) * beams
        of_beam, tokens = largest(log_probability, min(count, logits.shape[-1]))
        sums = (self._sums[:, :, None] + of_beam).flatten(1)
        best, places = sums.topk(min(count, sums.shape[1]))
        if best.isnan().any():
            raise OpenbookError("the model's logits are not finite: its weights are damaged, or training went astray")
        tokens = tokens.flatten(1).gather(1, places)
        return best, places // of_beam.shape[-1], tokens, torch.isin(tokens, self._ends)

    def _all_tokens(self) -> Tensor:
        """Those of the prompts and the beams', (B, W, P + T)."""
        prompts = self._prompts[:, None].expand(-1, self._tokens.shape[1], -1)
        return torch.cat((prompts, self._tokens), dim=-1)

    def _tell(
        self, trail: Trail, finished: Tensor, going: Tensor, sums: Tensor, parents: Tensor, tokens: Tensor
    ) -> None:
        """Tell the trail what ended and what goes on."""
        for place, row in enumerate(self.rows):
            steps = list(zip(parents[place].tolist(), tokens[place].tolist(), sums[place].tolist(), strict=True))
            live = (self._sums[place] > -torch.inf).tolist()
            trail.note(
                row.number,
                [steps[each] for each in finished[place].nonzero().flatten().tolist()],
                [steps[each] for each, alive in zip(going[place].tolist(), live, strict=True) if alive],
            )


def _of_beams(values: Tensor, parents: Tensor) -> Tensor:
    """values (B, W, T) of the beams parents (B, W′) → (B, W′, T)."""
    return values.gather(1, parents[..., None].expand(-1, -1, values.shape[-1]))
