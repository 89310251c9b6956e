"""What the tests of the batcher share: engines, answers as plain values, and the naive way to get them."""

import time
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import pytest

from openbook.generation.batching.batcher import Batcher
from openbook.generation.batching.events import Failed, Finished, PromptRead, Token
from openbook.generation.batching.limits import BatchLimits
from openbook.generation.batching.request import BatchRequest
from openbook.generation.engines.native.engine import NativeEngine
from openbook.generation.engines.native.from_torch import as_weights
from openbook.generation.engines.native.library import find_library
from openbook.generation.generate import generate
from openbook.generation.settings import Sampling
from strategies import DEFAULT, build

needs_native = pytest.mark.skipif(find_library() is None, reason="the native engine is not compiled")
PATIENCE = 120.0
"""Seconds after which something hangs, however slow the machine."""


def native_engine(spec=None, seed: int = 0):
    spec = spec or replace(DEFAULT, context=96)
    return NativeEngine(spec, as_weights(build(spec, seed)), threads=1)


@contextmanager
def batching(engine, *, exact: bool = False, **limits):
    batcher = Batcher(engine, BatchLimits(**limits), exact=exact)
    try:
        yield batcher
    finally:
        batcher.close()


@dataclass
class Outcome:
    """All events of a ticket, sorted."""

    read: PromptRead | None = None
    tokens: dict[int, list[Token]] = field(default_factory=lambda: defaultdict(list))
    ends: dict[int, Finished] = field(default_factory=dict)
    failed: Failed | None = None

    def ids(self, choice: int = 0) -> list[int]:
        return [token.token_id for token in self.tokens[choice]]

    @property
    def bits(self):
        """Whatever must not depend on the company; how much was reused may."""
        read = None if self.read is None else (self.read.log_probs, self.read.top)
        return read, dict(self.tokens), self.ends


def add(outcome: Outcome, event) -> None:
    assert outcome.failed is None, "nothing follows a failure"
    if isinstance(event, PromptRead):
        assert outcome.read is None and not outcome.tokens
        outcome.read = event
    elif isinstance(event, Token):
        assert event.choice not in outcome.ends, "nothing follows the end of a choice"
        outcome.tokens[event.choice].append(event)
    elif isinstance(event, Finished):
        assert event.choice not in outcome.ends, "a choice ends once"
        outcome.ends[event.choice] = event
    else:
        outcome.failed = event


def outcome_of(ticket) -> Outcome:
    outcome = Outcome()
    while (event := ticket.get(timeout=PATIENCE)) is not None:
        add(outcome, event)
    assert ticket.is_complete
    return outcome


def answer(batcher, **request) -> Outcome:
    return outcome_of(batcher.submit(BatchRequest(**request)))


def naive(engine, request: BatchRequest) -> list[int]:
    """The tokens of a request for one sample, by itself."""
    assert isinstance(request.decoding, Sampling)
    limits = [request.limit(engine)]
    sources = None if request.source is None else [request.source]
    made = generate(engine, [request.prompt], request.decoding, request.rules, sources=sources, limits=limits)
    return [token.token_id for token in made]


def settled(batcher):
    """The gauges once nothing is under way."""
    deadline = time.monotonic() + PATIENCE
    while True:
        gauges = batcher.gauges()
        if not (gauges.requests_active or gauges.requests_queued):
            return gauges
        assert time.monotonic() < deadline, f"rows are left: {gauges}"
        time.sleep(0.001)


def assert_empty(batcher) -> None:
    """Nothing is left of the requests."""
    gauges = settled(batcher)
    assert (gauges.rows_active, gauges.rows_prefilling, gauges.batch_tokens) == (0, 0, 0)
