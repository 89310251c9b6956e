"""A request on its way through a batcher: what it still has to do, and what it tells its ticket."""

import secrets
from collections.abc import Sequence

from openbook.errors import OpenbookError
from openbook.generation.batching.choice import Choice, mean_log_probability
from openbook.generation.batching.events import Failed, Finished, FinishReason, PromptRead, Token
from openbook.generation.batching.limits import Counters
from openbook.generation.batching.request import BatchRequest
from openbook.generation.batching.ticket import Outbox, Ticket
from openbook.generation.engines.engine import Engine
from openbook.generation.hypotheses import Hypothesis
from openbook.generation.settings import Sampling


class ActiveRequest:
    """A request, its ticket and its choices.

    Args:
        request: what was asked; it has been checked.
        ticket: where its events go, by way of the outbox.
        engine: that answers it.
        counters: of the batcher.

    Attributes:
        is_over: whether its last event was told.
    """

    def __init__(
        self, request: BatchRequest, ticket: Ticket, outbox: Outbox, engine: Engine, counters: Counters
    ) -> None:
        self.request, self.ticket = request, ticket
        self._outbox = outbox
        self.limit = request.limit(engine)
        self._counters = counters
        self._vocab_size = engine.vocab_size
        self._choices: list[Choice] = []
        self._ranked: list[tuple[Choice, list[Token]]] = []  # with `best_of`: choices that are complete
        self._tokens: dict[int, list[Token]] = {}  # and what came of all
        self._told: set[int] = set()  # choices whose end was told
        self.is_over = False

    @property
    def most_tokens(self) -> int:
        """How many tokens its rows may come to hold."""
        read = len(self.request.prompt) + len(self.request.source or ())
        return self.request.sampled * (read + self.limit)

    def begin(self) -> list[Choice]:
        """Its choices, none of which has a token yet; none of a beam search."""
        sampling, request = self.request.decoding, self.request
        if isinstance(sampling, Sampling) and not self._choices:
            numbers = range(request.sampled)
            self._choices = [Choice(each, request, sampling, self.limit, self._vocab_size) for each in numbers]
        return self._choices

    def tell_read(self, event: PromptRead) -> None:
        """The prompt was read."""
        self._counters.prompt_tokens += event.prompt_tokens - event.reused_tokens
        self._outbox.add(self.ticket, [event])
        if self.limit == 0:
            self._finish([Finished(number, "length", 0) for number in range(self.request.choices)])

    def tell_token(self, choice: Choice, token: Token | None) -> None:
        """A choice has another token, or ended without one."""
        if token is not None:
            self._counters.generated_tokens += 1
        if self.request.best_of is not None:
            self._rank(choice, token)
            return
        events: list[Token | Finished] = [] if token is None else [token]
        if choice.finish_reason is None:
            self._outbox.add(self.ticket, events)
            return
        end = Finished(choice.number, choice.finish_reason, choice.produced, choice.log_probability)
        self._finish([end], events)

    def tell_hypotheses(self, hypotheses: Sequence[Hypothesis]) -> None:
        """A beam search is over."""
        tokens: list[Token] = []
        ends: list[Finished] = []
        for number, found in enumerate(hypotheses):
            *before, last = found.tokens
            tokens += [Token(number, token) for token in before]
            tokens.append(Token(number, last, finish_reason=found.finish_reason))
            count, reason = len(found.tokens), found.finish_reason
            ends.append(Finished(number, reason, count, found.log_probability, found.score))
            self._counters.generated_tokens += count
        missing = range(len(hypotheses), self.request.choices)  # a small vocabulary has fewer sequences than asked for
        self._finish([*ends, *(Finished(number, "stop", 0) for number in missing)], tokens)

    def is_cancelled(self, choice: Choice | None = None) -> bool:
        """Whether nobody waits for this choice any more; for all of them if None."""
        ticket = self.ticket
        if choice is None or self.request.best_of is not None:
            return ticket.is_cancelled() or all(map(ticket.is_cancelled, range(self.request.choices)))
        return ticket.is_cancelled(choice.number)

    def tell_cancelled(self, choice: Choice | None = None) -> None:
        """The rows of this choice are free; of all that were not complete if None."""
        if choice is not None and self.request.best_of is None:
            self._finish([Finished(choice.number, "cancelled", choice.produced, choice.log_probability)])
            return
        produced = {each.number: each.produced for each in self._choices} if self.request.best_of is None else {}
        numbers = range(self.request.choices)
        self._finish([Finished(number, "cancelled", produced.get(number, 0)) for number in numbers])

    def tell_failed(self, error: Exception) -> None:
        """The request could not be answered. Told once."""
        if self.is_over:
            return
        self.is_over = True
        message = str(error) if isinstance(error, OpenbookError) else "the server could not answer; its log says why"
        self._counters.requests_failed += 1
        self._outbox.add(self.ticket, [Failed(secrets.token_hex(8), message, error)])

    def _rank(self, choice: Choice, token: Token | None) -> None:
        """With `best_of`: keep what comes until all choices are complete, then tell the best of them."""
        tokens = self._tokens.setdefault(choice.number, [])
        if token is not None:
            tokens.append(token)
        if choice.finish_reason is None:
            return
        self._ranked.append((choice, tokens))
        if len(self._ranked) < self.request.sampled:
            return
        best = sorted(self._ranked, key=lambda each: (-mean_log_probability(each[0]), each[0].number))
        events: list[Token] = []
        ends: list[Finished] = []
        for number, (each, produced) in enumerate(best[: self.request.n]):
            events += [_renumbered(one, number, self.request.top_logprobs is not None) for one in produced]
            reason = each.finish_reason or "length"
            ends.append(Finished(number, reason, each.produced, each.log_probability, mean_log_probability(each)))
        self._finish(ends, events)

    def _finish(self, ends: Sequence[Finished], events: Sequence[Token | Finished] = ()) -> None:
        """Tell the ticket these events and ends, except for those it knows."""
        news = [end for end in ends if end.choice not in self._told]
        if self.is_over or not news:
            return
        self._told.update(end.choice for end in news)
        if len(self._told) == self.request.choices:
            self.is_over = True
            cancelled = any(_is_cancelled(end.finish_reason) for end in news)
            self._counters.requests_cancelled += cancelled
            self._counters.requests_finished += not cancelled
        self._outbox.add(self.ticket, [*events, *news])


def _is_cancelled(reason: FinishReason) -> bool:
    return reason == "cancelled"


def _renumbered(token: Token, choice: int, scored: bool) -> Token:
    """The same token of another choice, with log-probabilities only if they were asked for."""
    if not scored:
        return Token(choice, token.token_id, finish_reason=token.finish_reason)
    known = (token.log_prob, token.sampling_probability, token.top)
    return Token(choice, token.token_id, *known, token.finish_reason)
