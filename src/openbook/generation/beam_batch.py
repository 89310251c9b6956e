"""Beam search over one batch, a token a step."""

from collections.abc import Collection, Sequence

import numpy as np

from openbook.generation.arrays import BoolArray, FloatArray, IntArray
from openbook.generation.beam_state import BeamState, gather
from openbook.generation.beam_trace import BeamTrace
from openbook.generation.candidates import Candidates
from openbook.generation.engines.engine import Continuations, Session
from openbook.generation.generate import FinishReason
from openbook.generation.hypotheses import Hypothesis, NBest, SearchResult

DROP_SHARE = 1 / 16
"""Share of a batch that must be done before its rows are dropped: dropping copies the rows that take their places."""


class BeamBatch:
    """The rows of a batch, the session that predicts their next tokens, and their open beams.

    Args:
        candidates: the settings and rules of the search.
        session: has read the prompts.
        logits: (B, V) after the prompts.
        rows: the results so far, one for each row of the session.
        state: the open beams, likewise.
    """

    def __init__(
        self, candidates: Candidates, session: Session, logits: FloatArray, rows: Sequence[NBest], state: BeamState
    ) -> None:
        self.rows = list(rows)
        self._candidates, self._session, self._state = candidates, session, state
        self._first_logits: FloatArray | None = logits[:, None]
        self._done: list[int] = []  # rows that are done but not dropped yet

    def step(self, trace: BeamTrace | None = None) -> list[SearchResult]:
        """Extend each beam by a token; return the results of the rows that are done now."""
        state, candidates = self._state, self._candidates
        if self._first_logits is not None:
            found, self._first_logits = candidates.of_logits(self._first_logits, state), None
        elif candidates.rules.only_suppresses:
            found = self._session.step_topk(state.newest, state.log_probs, candidates.suppressed, candidates.count)
        else:
            found = candidates.of_logits(self._session.step(state.newest), state)
        found = candidates.checked(found)
        ended = candidates.is_end[found.tokens] | state.at_last[:, None]
        finished = (ended & (found.log_probs > -np.inf))[:, : candidates.settings.beam_size]
        self._add_finished(found, finished)
        parents = self._continue(found, ended, finished, trace)
        done = self._newly_done()
        results = [self.rows[row].result for row in done]
        self._done += done
        if len(self._done) == len(self.rows):
            self.rows = []
            return results
        if candidates.settings.beam_size > 1:
            self._session.branch(parents)
        if self._should_drop:
            self.drop_done()
        return results

    def join(self, other: "BeamBatch") -> None:
        """Append the rows of another batch, which must not be used again."""
        self.drop_done()
        other.drop_done()
        self._session.join([other._session])
        self._state = self._state.concatenate(other._state)
        self.rows += other.rows

    def drop_done(self) -> None:
        """Drop the rows that are done; the last of the others take their places."""
        if not self._done:
            return
        done = set(self._done)
        going = [row for row in range(len(self.rows)) if row not in done]
        last = iter(row for row in going if row >= len(going))
        order = [next(last) if row in done else row for row in range(len(going))]
        self.rows, self._done = [self.rows[row] for row in order], []
        self._state = self._state.select(order)
        self._session.reorder(order)

    def discard(self, requests: Collection[int]) -> None:
        """End the searches of these requests without a result."""
        done = set(self._done)
        self._done += [row for row, n_best in enumerate(self.rows) if n_best.row in requests and row not in done]
        if len(self._done) == len(self.rows):
            self.rows = []
        else:
            self.drop_done()

    @property
    def _should_drop(self) -> bool:
        """Whether enough rows are done to be worth the copy, or some have no room to continue."""
        if len(self._done) >= DROP_SHARE * len(self.rows):
            return True
        return bool((self._state.produced[self._done] >= self._state.limits[self._done]).any())

    def _add_finished(self, found: Continuations, finished: BoolArray) -> None:
        """Keep the hypotheses that finish now, where `finished` (B, W) says so of the best continuations."""
        state, settings = self._state, self._candidates.settings
        for row, which in np.argwhere(finished).tolist():
            token, length = int(found.tokens[row, which]), int(state.produced[row]) + 1
            before = state.tokens[row, found.parents[row, which], state.tokens.shape[-1] - length + 1 :].tolist()
            reason: FinishReason = "end" if self._candidates.is_end[token] else "length"
            total = float(found.log_probs[row, which])
            self.rows[row].add(Hypothesis((*before, token), total, settings.score(total, length), reason))
            state.has_enough[row] = self.rows[row].has_enough

    def _continue(
        self, found: Continuations, ended: BoolArray, finished: BoolArray, trace: BeamTrace | None
    ) -> IntArray:
        """Keep the best continuations that do not end as the open beams; return the beams they continue, (B, W)."""
        # A stable sort: those that continue come first, best first.
        order = ended.argsort(axis=1, kind="stable")[:, : self._candidates.settings.beam_size]
        best = Continuations(*(gather(each, order) for each in found))
        best = best._replace(log_probs=np.where(gather(ended, order), np.float32(-np.inf), best.log_probs))
        if trace is not None:
            self._record(trace, found, finished, order)
        self._state = self._state.extended(best)
        return best.parents

    def _record(self, trace: BeamTrace, found: Continuations, finished: BoolArray, order: IntArray) -> None:
        """Tell the trace which sequences ended in this step and which stay open."""
        for row, n_best in enumerate(self.rows):
            columns = (found.parents[row], found.tokens[row], found.log_probs[row])
            steps = list(zip(*(column.tolist() for column in columns), strict=True))
            ends = self._candidates.is_end[found.tokens[row]] | self._state.at_last[row]
            ended = [steps[each] for each in finished[row].nonzero()[0].tolist()]
            still_open = [steps[each] for each in order[row].tolist() if not ends[each] and steps[each][2] > -np.inf]
            trace.add_step(n_best.row, ended, still_open)

    def _newly_done(self) -> list[int]:
        """The rows whose search is over since this step; their beams are closed."""
        state = self._state
        best = state.log_probs[:, 0]
        # All other rows are known to continue.
        ask = state.has_enough | (state.produced == state.limits) | (best == -np.inf)
        ask[self._done] = False
        rows = ask.nonzero()[0].tolist()
        done = [row for row in rows if self.rows[row].is_done(float(best[row]), int(state.produced[row]))]
        state.log_probs[done] = -np.inf
        return done
