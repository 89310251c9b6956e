"""Requests come and go: choices, cancellation, failures, limits, readers."""

import asyncio
import random
import threading

import numpy as np
import pytest
from batches import (
    PATIENCE,
    Outcome,
    add,
    answer,
    assert_empty,
    batching,
    naive,
    native_engine,
    needs_native,
    outcome_of,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from openbook.errors import OpenbookError
from openbook.generation.batching.batcher import Batcher
from openbook.generation.batching.errors import BatcherClosedError, QueueFullError, RequestTooLargeError
from openbook.generation.batching.events import Finished, PromptRead, Token
from openbook.generation.batching.limits import BatchLimits
from openbook.generation.batching.request import BatchRequest
from openbook.generation.settings import BeamSearch, Sampling
from openbook.generation.token_rules import TokenRules
from strategies import VOCABULARY

pytestmark = needs_native

ENDLESS = Sampling(temperature=1, min_p=0, seed=1, max_tokens=90)
GREEDY = Sampling(temperature=0, max_tokens=8)


class Gate:
    """A stop check that lets a row go on to its next token only when it is opened."""

    def __init__(self) -> None:
        self.reached, self.open = threading.Event(), threading.Event()

    def __call__(self, token: int) -> bool:
        self.reached.set()
        assert self.open.wait(PATIENCE)
        return False


class Permits(threading.Semaphore):
    """A stop check that lets a row go on by one token a permit: it can't fill its context before it is cancelled."""

    def __init__(self) -> None:
        super().__init__(0)

    def __call__(self, token: int) -> bool:
        assert self.acquire(timeout=PATIENCE)
        return False


def test_choices_are_what_requests_with_their_seeds_give() -> None:
    with batching(native_engine()) as batcher:
        several = answer(batcher, prompt=[3, 4], decoding=Sampling(seed=7, max_tokens=12, min_p=0), n=4)
        for number in range(4):
            alone = answer(batcher, prompt=[3, 4], decoding=Sampling(seed=7 + number, max_tokens=12, min_p=0))
            assert several.ids(number) == alone.ids()
    assert len({tuple(several.ids(number)) for number in range(4)}) > 1


def test_best_of_gives_those_with_the_highest_mean() -> None:
    asked = {"prompt": [3, 4], "decoding": Sampling(seed=7, max_tokens=12, min_p=0), "top_logprobs": 0}
    with batching(native_engine()) as batcher:
        every = answer(batcher, **asked, n=6)
        best = answer(batcher, **asked, n=2, best_of=6)
        plain = answer(batcher, **asked | {"top_logprobs": None}, n=2, best_of=6)
    means = {number: end.log_probability / end.tokens for number, end in every.ends.items()}
    order = sorted(means, key=lambda number: -means[number])[:2]
    assert [best.ids(0), best.ids(1)] == [every.ids(number) for number in order]
    assert best.ends[0].score == pytest.approx(means[order[0]])
    assert plain.ids() == best.ids() and plain.tokens[0][0].log_prob is None


def test_log_probabilities_are_the_models_own_and_probabilities_those_of_sampling() -> None:
    with batching(native_engine()) as batcher:
        decoding = Sampling(seed=1, temperature=0.5, top_k=4, min_p=0, max_tokens=6)
        outcome = answer(batcher, prompt=[3, 4], decoding=decoding, top_logprobs=VOCABULARY)
    for token in outcome.tokens[0]:
        assert sum(np.exp(score.log_prob) for score in token.top) == pytest.approx(1)
        scores = {score.token_id: score.log_prob for score in token.top}
        assert scores[token.token_id] == token.log_prob
        sharpened = np.array(sorted((2 * value for value in scores.values()), reverse=True)[:4])
        expected = np.exp(2 * token.log_prob) / np.exp(sharpened).sum()
        assert token.sampling_probability == pytest.approx(expected, rel=1e-4)


def test_reasons_to_end() -> None:
    engine = native_engine()
    with batching(engine) as batcher:
        ids = answer(batcher, prompt=[3], decoding=GREEDY).ids()
        end = answer(batcher, prompt=[3], decoding=GREEDY, rules=TokenRules(end_ids=frozenset({ids[2]})))
        seen = []
        stop = answer(
            batcher, prompt=[3], decoding=GREEDY, stop=lambda: lambda token: seen.append(token) or len(seen) == 2
        )
        full = answer(batcher, prompt=[3] * 90, decoding=GREEDY, max_tokens=50)
        none = answer(batcher, prompt=[3], decoding=GREEDY, max_tokens=0, n=2)
    place = ids.index(ids[2])
    assert (end.ids(), end.ends[0].finish_reason) == (ids[: place + 1], "end")
    assert end.tokens[0][-1].finish_reason == "end" and end.ends[0].tokens == place + 1
    assert (stop.ids(), stop.ends[0].finish_reason, seen) == (ids[:2], "stop", ids[:2])
    assert (full.ends[0].finish_reason, len(full.ids())) == ("length", engine.context + 1 - 90)
    assert not none.tokens and {each.finish_reason for each in none.ends.values()} == {"length"}


class Only:
    """A grammar: these tokens, one after the other."""

    def __init__(self, tokens: list[int]) -> None:
        self.left = list(tokens)

    def allowed(self) -> np.ndarray:
        return np.isin(np.arange(VOCABULARY), self.left[:1])

    def accept(self, token: int) -> None:
        assert token == self.left.pop(0)


def test_a_grammar_decides() -> None:
    with batching(native_engine()) as batcher:
        outcome = answer(batcher, prompt=[3], decoding=GREEDY, n=2, mask=lambda: Only([9, 4, 7]))
    assert [outcome.ids(0), outcome.ids(1)] == [[9, 4, 7]] * 2
    assert outcome.ends[0].finish_reason == "stop"


def test_a_search_has_as_many_choices_as_were_asked_for() -> None:
    with batching(native_engine()) as batcher:
        found = answer(batcher, prompt=[3], decoding=BeamSearch(beam_size=3, n_best=3, max_tokens=6))
    assert sorted(found.ends) == [0, 1, 2]
    assert found.ends[0].score >= found.ends[1].score >= found.ends[2].score


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=12)
def test_whoever_leaves_at_whatever_moment_leaves_nothing(seed) -> None:
    chance = random.Random(seed)
    engine = native_engine()
    with batching(engine, prefill_tokens=4, max_rows=5, max_batch_tokens=400) as batcher:
        tickets, leaves = [], []
        for _ in range(10):
            decoding = chance.choice([ENDLESS, GREEDY, BeamSearch(beam_size=2, max_tokens=30)])
            n = chance.choice([1, 1, 3]) if isinstance(decoding, Sampling) else 1
            prompt = [chance.randrange(VOCABULARY) for _ in range(chance.choice([1, 30]))]
            tickets.append(batcher.submit(BatchRequest(prompt=prompt, decoding=decoding, n=n)))
            leaves.append(chance.choice([0, 1, 5, 20, 1000]))
        outcomes = [Outcome() for _ in tickets]
        for ticket, after, outcome in zip(tickets, leaves, outcomes, strict=True):
            for _ in range(after):
                event = ticket.get(PATIENCE)
                if event is None:
                    break
                add(outcome, event)
            ticket.cancel(chance.choice([None, 0]))
        for ticket, outcome in zip(tickets, outcomes, strict=True):
            while (event := ticket.get(PATIENCE)) is not None:
                add(outcome, event)
            assert outcome.failed is None
            assert {end.finish_reason for end in outcome.ends.values()} <= {"cancelled", "length"}
        assert_empty(batcher)
        counters = batcher.gauges().counters
        assert counters.requests_cancelled + counters.requests_finished == len(tickets)
        check = BatchRequest(prompt=[3, 4], decoding=GREEDY)
        assert outcome_of(batcher.submit(check)).ids() == naive(engine, check)


def test_a_request_that_waits_leaves_the_queue_at_once() -> None:
    gate = Gate()
    with batching(native_engine(), max_rows=1, max_queue=2) as batcher:
        first = batcher.submit(BatchRequest(prompt=[3], decoding=GREEDY, stop=lambda: gate))
        assert gate.reached.wait(PATIENCE)
        waiting = [batcher.submit(BatchRequest(prompt=[4], decoding=GREEDY)) for _ in range(2)]
        assert batcher.gauges().requests_queued == 2
        with pytest.raises(QueueFullError, match="2 requests wait already") as caught:
            batcher.submit(BatchRequest(prompt=[4], decoding=GREEDY))
        assert caught.value.retry_after >= 1
        waiting[0].cancel(0)  # its only choice
        assert batcher.gauges().requests_queued == 1
        batcher.submit(BatchRequest(prompt=[5], decoding=GREEDY))
        gate.open.set()
        assert outcome_of(waiting[0]).ends[0] == Finished(0, "cancelled", 0)
        assert outcome_of(first).ends[0].finish_reason == outcome_of(waiting[1]).ends[0].finish_reason == "length"


def test_a_client_that_asks_once_does_not_wait_for_one_that_asks_often() -> None:
    gate, order = Gate(), []

    def noting(name):
        return lambda: lambda token: order.append(name) or False

    with batching(native_engine(), max_rows=1) as batcher:
        batcher.submit(BatchRequest(prompt=[3], decoding=GREEDY, stop=lambda: gate, client="often"))
        assert gate.reached.wait(PATIENCE)
        often = [
            batcher.submit(BatchRequest(prompt=[3], decoding=GREEDY, stop=noting("often"), client="often"))
            for _ in range(5)
        ]
        once = batcher.submit(BatchRequest(prompt=[3], decoding=GREEDY, stop=noting("once"), client="once"))
        gate.open.set()
        for ticket in (once, *often):
            outcome_of(ticket)
    assert order.index("once") == 0


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"prompt": []}, "empty"),
        ({"prompt": [VOCABULARY]}, "not from 0"),
        ({"prompt": [1] * 97}, "the model holds 96"),
        ({"prompt": [1], "source": [2]}, "reads no sources"),
        ({"prompt": [1], "n": 0}, "n is 0"),
        ({"prompt": [1], "n": 3, "best_of": 2}, "best_of is 2"),
        ({"prompt": [1], "max_tokens": -1}, "max_tokens is -1"),
        ({"prompt": [1], "top_logprobs": VOCABULARY + 1}, "top_logprobs is"),
        ({"prompt": [1], "decoding": Sampling(logit_bias={VOCABULARY: 1})}, "logit_bias names the token"),
        ({"prompt": [1], "decoding": BeamSearch(), "n": 2}, "n_best"),
        ({"prompt": [1], "decoding": BeamSearch(), "top_logprobs": 1}, "top_logprobs is for sampling"),
        ({"prompt": [1], "rules": TokenRules(end_ids=frozenset({-1}))}, "token ids begin with 0"),
    ],
)
def test_what_cannot_be_answered_is_refused_at_once(request_, message) -> None:
    with batching(native_engine()) as batcher, pytest.raises(OpenbookError, match=message):
        batcher.submit(BatchRequest(**{"decoding": GREEDY} | request_))


def test_what_never_has_room_is_refused() -> None:
    with batching(native_engine(), max_batch_tokens=40, max_rows=3) as batcher:
        with pytest.raises(RequestTooLargeError, match="there is room for 40"):
            batcher.submit(BatchRequest(prompt=[1] * 10, decoding=ENDLESS))
        with pytest.raises(RequestTooLargeError, match="it takes 4 rows"):
            batcher.submit(BatchRequest(prompt=[1], decoding=GREEDY, n=4))
    with pytest.raises(OpenbookError, match="max_rows is 0"):
        BatchLimits(max_rows=0)


def raising(*_):
    raise ZeroDivisionError("on purpose")


class Broken:
    allowed = accept = raising


@pytest.mark.parametrize(
    "broken",
    [{"stop": raising}, {"stop": lambda: raising}, {"mask": raising}, {"mask": Broken}],
    ids=["stop", "check", "mask", "allowed"],
)
def test_a_request_that_fails_fails_alone(broken) -> None:
    engine = native_engine()
    with batching(engine) as batcher:
        good = BatchRequest(prompt=[3, 4], decoding=Sampling(temperature=0, max_tokens=40))
        before = batcher.submit(good)
        failed = outcome_of(batcher.submit(BatchRequest(prompt=[3], decoding=GREEDY, n=2, **broken))).failed
        assert isinstance(failed.error, ZeroDivisionError) and "on purpose" not in failed.message
        assert len(failed.error_id) == 16
        assert outcome_of(before).ids() == outcome_of(batcher.submit(good)).ids() == naive(engine, good)
        assert_empty(batcher)
        assert batcher.gauges().counters.requests_failed == 1


class Failing:
    """An engine whose passes fail, once so many were made."""

    def __init__(self, engine, after: int) -> None:
        self.engine, self.after = engine, after

    def __getattr__(self, name):
        return getattr(self.engine, name)

    def count(self) -> None:
        self.after -= 1
        if self.after == 0:
            raise OpenbookError("native engine: out of memory")

    def prefill(self, *given):
        self.count()
        session, logits = self.engine.prefill(*given)
        return FailingSession(self, session), logits


class FailingSession:
    def __init__(self, engine, session) -> None:
        self.engine, self.session = engine, session

    def __getattr__(self, name):
        return getattr(self.session, name)

    def join(self, others) -> None:
        self.session.join([other.session for other in others])

    def step(self, tokens):
        self.engine.count()
        return self.session.step(tokens)

    def extend(self, tokens, *, every=False):
        self.engine.count()
        return self.session.extend(tokens, every=every)


@pytest.mark.parametrize("after", range(1, 9))
def test_an_engine_that_fails_hangs_no_stream(after) -> None:
    engine = Failing(native_engine(), after)
    asked = [
        BatchRequest(prompt=[3, 4] * 5, decoding=GREEDY),
        BatchRequest(prompt=[5], decoding=GREEDY, n=2),
        BatchRequest(prompt=[6], decoding=BeamSearch(beam_size=2, max_tokens=5)),
    ]
    with batching(engine, prefill_tokens=1, prefix_cache_bytes=0) as batcher:
        outcomes = [outcome_of(ticket) for ticket in [batcher.submit(each) for each in asked]]
        assert any(outcome.failed for outcome in outcomes)
        for outcome in outcomes:
            assert (outcome.failed is None) == (len(outcome.ends) >= 1 and outcome.ends[0].finish_reason == "length")
            assert outcome.failed is None or outcome.failed.message == "native engine: out of memory"
        assert_empty(batcher)
        assert outcome_of(batcher.submit(asked[0])).ids() == naive(engine, asked[0])


def test_weights_that_are_damaged_are_told() -> None:
    engine = native_engine()

    class Damaged(Failing):
        def prefill(self, *given):
            session, logits = self.engine.prefill(*given)
            return session, np.full_like(logits, np.nan)

    with batching(Damaged(engine, 0)) as batcher:
        assert "not finite" in answer(batcher, prompt=[3], decoding=GREEDY).failed.message


def test_closing_drains_or_cancels() -> None:
    batcher = Batcher(native_engine())
    under_way = batcher.submit(BatchRequest(prompt=[3], decoding=GREEDY))
    batcher.close(drain=PATIENCE)
    assert outcome_of(under_way).ends[0].finish_reason == "length"
    with pytest.raises(BatcherClosedError):
        batcher.submit(BatchRequest(prompt=[3], decoding=GREEDY))
    batcher.close()

    permits = Permits()
    batcher = Batcher(native_engine(), BatchLimits(max_rows=1))
    held = batcher.submit(BatchRequest(prompt=[3], decoding=ENDLESS, stop=lambda: permits))
    waits = batcher.submit(BatchRequest(prompt=[3], decoding=ENDLESS))
    closing = threading.Thread(target=batcher.close)
    closing.start()
    while closing.is_alive():  # token by token, so that none of the two is complete before the batcher is told to close
        permits.release()
        closing.join(0.05)
    assert outcome_of(held).ends[0].finish_reason == outcome_of(waits).ends[0].finish_reason == "cancelled"
    assert_empty(batcher)


def test_events_are_read_by_asyncio() -> None:
    async def read(ticket, how):
        outcome = Outcome()
        if how == "each":
            async for event in ticket:
                add(outcome, event)
        else:
            while events := await ticket.next_events():
                for event in events:
                    add(outcome, event)
        return outcome

    async def main(batcher):
        asked = [BatchRequest(prompt=[3 + i], decoding=GREEDY) for i in range(6)]
        tickets = [batcher.submit(each) for each in asked]
        return asked, await asyncio.gather(*[read(t, "each" if i % 2 else "all") for i, t in enumerate(tickets)])

    engine = native_engine()
    with batching(engine) as batcher:
        asked, outcomes = asyncio.run(main(batcher))
    assert [outcome.ids() for outcome in outcomes] == [naive(engine, each) for each in asked]


def test_a_reader_that_gives_up_loses_nothing_and_frees_its_row() -> None:
    permits = Permits()

    async def main(batcher):
        with batcher.submit(BatchRequest(prompt=[3], decoding=ENDLESS, stop=lambda: permits)) as ticket:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(ticket.next_events(), 0.01)
            permits.release()
            first = await ticket.next_events()
            assert isinstance(first[0], PromptRead) and isinstance(first[1], Token)
        permits.release()

    with batching(native_engine()) as batcher:
        asyncio.run(main(batcher))
        assert_empty(batcher)
        assert batcher.gauges().counters.requests_cancelled == 1
