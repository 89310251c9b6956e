"""The same request gets the same bits: alone, in any company, in pieces, after prefix reuse, after making room."""

from dataclasses import replace

import numpy as np
import pytest
from batches import Outcome, add, answer, assert_empty, batching, naive, native_engine, needs_native, outcome_of
from hypothesis import given, settings
from hypothesis import strategies as st

from openbook.generation.batching.request import BatchRequest
from openbook.generation.beam_search import beam_search
from openbook.generation.engines.torch_engine import TorchEngine
from openbook.generation.settings import BeamSearch, Sampling
from openbook.generation.token_rules import TokenRules
from strategies import DEFAULT, ENCODER_DECODERS, SOURCE_VOCABULARY, VOCABULARY, build

RULES = TokenRules(end_ids=frozenset({1, 6}), suppressed=(2,))
LONG = replace(DEFAULT, context=96)
BEGINNING = [(7 * i + 3) % VOCABULARY for i in range(40)]
"""Prompts that begin alike share blocks of the prefix cache."""

samplings = st.builds(
    Sampling,
    temperature=st.sampled_from([0.0, 0.7, 1.5]),
    top_k=st.sampled_from([None, 5]),
    top_p=st.sampled_from([1.0, 0.9]),
    min_p=st.sampled_from([0.0, 0.1]),
    repetition_penalty=st.sampled_from([1.0, 1.3]),
    presence_penalty=st.sampled_from([0.0, 0.5]),
    frequency_penalty=st.sampled_from([0.0, 0.4]),
    logit_bias=st.sampled_from([(), ((4, 2.0), (9, -3.0))]),
    seed=st.integers(0, 99),
    max_tokens=st.integers(1, 24),
)
prompts = st.tuples(st.integers(0, 40), st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=20)).map(
    lambda both: [*BEGINNING[: both[0]], *both[1]]
)
requests = st.builds(
    BatchRequest,
    prompt=prompts,
    decoding=samplings,
    rules=st.just(RULES),
    top_logprobs=st.sampled_from([None, None, 0, 3]),
    prompt_logprobs=st.sampled_from([None, None, None, 2]),
    client=st.sampled_from(["a", "b"]),
)
searches = st.builds(
    BatchRequest,
    prompt=prompts,
    decoding=st.builds(BeamSearch, beam_size=st.just(3), n_best=st.sampled_from([1, 3]), max_tokens=st.integers(1, 9)),
    rules=st.just(RULES),
)


def submitted_in_turns(batcher, asked, pauses) -> list[Outcome]:
    """Each request comes after some more events of the first; all outcomes."""
    tickets = [batcher.submit(asked[0])]
    first = Outcome()
    for request, pause in zip(asked[1:], pauses, strict=False):
        for _ in range(pause):
            event = tickets[0].get(timeout=120)
            if event is None:
                break
            add(first, event)
        tickets.append(batcher.submit(request))
    while (event := tickets[0].get(timeout=120)) is not None:
        add(first, event)
    return [first, *map(outcome_of, tickets[1:])]


@needs_native
@given(
    st.lists(requests | searches, min_size=1, max_size=7),
    st.lists(st.integers(0, 4), min_size=7, max_size=7),
    st.sampled_from([1, 5, 64]),
    st.sampled_from([0, 20_000, 1 << 20]),
    st.sampled_from([100, 10_000]),
)
def test_in_any_company(asked, pauses, prefill_tokens, cache_bytes, most) -> None:
    engine = native_engine()
    limits = {"prefill_tokens": prefill_tokens, "prefix_cache_bytes": cache_bytes, "max_rows": 6}
    together_limits = limits | {"max_batch_tokens": max(most, 3 * 96)}
    with batching(engine, **together_limits) as batcher:
        assert batcher.exact
        together = submitted_in_turns(batcher, asked, pauses)
        again = [outcome_of(ticket) for ticket in [batcher.submit(each) for each in asked]]
        assert_empty(batcher)
    for request, one, other in zip(asked, together, again, strict=True):
        with batching(engine, prefix_cache_bytes=0) as batcher:
            alone = answer(batcher, **request.__dict__)
        assert one.failed is None and one.bits == alone.bits == other.bits
        if isinstance(request.decoding, Sampling):
            assert one.ids() == naive(engine, request)
        else:
            limit = [request.limit(engine)]
            (found,) = beam_search(engine, [request.prompt], request.decoding, RULES, limits=limit)
            assert [tuple(one.ids(choice)) for choice in range(len(found.hypotheses))] == [
                hypothesis.tokens for hypothesis in found.hypotheses
            ]


@needs_native
@pytest.mark.parametrize("name", ENCODER_DECODERS)
@given(
    st.lists(st.lists(st.integers(0, SOURCE_VOCABULARY - 1), min_size=1, max_size=20), min_size=2, max_size=6),
    st.integers(0, 99),
)
@settings(max_examples=5)
def test_translators(name, sources, seed) -> None:
    engine = native_engine(ENCODER_DECODERS[name])
    ways = [
        Sampling(temperature=0, max_tokens=9),
        Sampling(seed=seed, max_tokens=9, min_p=0),
        BeamSearch(beam_size=2, n_best=2, max_tokens=8),
    ]
    asked = [
        BatchRequest(prompt=[1], source=source, decoding=ways[i % 3], rules=RULES) for i, source in enumerate(sources)
    ]
    with batching(engine, prefill_tokens=8) as batcher:
        together = [outcome_of(ticket) for ticket in [batcher.submit(each) for each in asked]]
        alone = [outcome_of(batcher.submit(each)) for each in asked]
    assert [each.bits for each in together] == [each.bits for each in alone]
    for request, outcome in zip(asked, together, strict=True):
        if isinstance(request.decoding, Sampling):
            assert outcome.ids() == naive(engine, request)
        else:
            (found,) = beam_search(engine, [[1]], request.decoding, RULES, sources=[request.source])
            assert outcome.ids() == list(found.hypotheses[0].tokens)


@needs_native
def test_rows_that_make_room_are_read_again() -> None:
    engine = native_engine()
    asked = [
        BatchRequest(prompt=[3, 4, 5 + i], decoding=Sampling(seed=i, max_tokens=60, min_p=0), top_logprobs=1)
        for i in range(6)
    ]
    with batching(engine, max_batch_tokens=150, max_rows=6, prefix_cache_bytes=0) as batcher:
        together = [outcome_of(ticket) for ticket in [batcher.submit(each) for each in asked]]
        assert batcher.gauges().counters.preemptions > 0
        assert_empty(batcher)
    with batching(engine) as batcher:
        assert [outcome_of(batcher.submit(each)).bits for each in asked] == [each.bits for each in together]


@needs_native
def test_a_prefix_is_reused_to_the_bit() -> None:
    with batching(native_engine()) as batcher:
        request = {"decoding": Sampling(seed=5, max_tokens=20), "top_logprobs": 2}
        first = answer(batcher, prompt=[*BEGINNING, 1, 2, 3], **request)
        again = answer(batcher, prompt=[*BEGINNING, 1, 2, 3], **request)
        other = answer(batcher, prompt=[*BEGINNING, 4], **request)
        counters = batcher.gauges().counters
    assert [each.read.reused_tokens for each in (first, again, other)] == [0, 32, 32]
    assert first.bits == again.bits
    assert (counters.prefix_lookups, counters.prefix_hits, counters.prefix_tokens_reused) == (3, 2, 64)
    with batching(native_engine(), prefix_cache_bytes=0) as batcher:
        assert answer(batcher, prompt=[*BEGINNING, 4], **request).bits == other.bits


@pytest.mark.parametrize("name", ["decoder-only", *ENCODER_DECODERS])
def test_pytorch_keeps_the_promise_when_exact(name) -> None:
    spec = ENCODER_DECODERS.get(name, LONG)
    engine = TorchEngine(build(spec))
    source = None if spec.encoder is None else [4, 5, 6]
    ways = [Sampling(temperature=0, max_tokens=8), Sampling(seed=3, max_tokens=8, min_p=0)]
    asked = [
        BatchRequest(prompt=[1, 2, 3 + i], source=source, decoding=ways[i % 2], rules=RULES, top_logprobs=1)
        for i in range(5)
    ]
    with batching(engine) as batcher:
        assert not batcher.exact
    with batching(engine, exact=True) as batcher:
        assert batcher.exact
        together = [outcome_of(ticket) for ticket in [batcher.submit(each) for each in asked]]
        alone = [outcome_of(batcher.submit(each)) for each in asked]
        assert_empty(batcher)
    assert [each.bits for each in together] == [each.bits for each in alone]
    assert [each.ids() for each in together] == [naive(engine, each) for each in asked]


@pytest.mark.parametrize("name", ["decoder-only", *ENCODER_DECODERS])
def test_pytorch_in_batches(name) -> None:
    """In float64, where no token is a tie; prompts in pieces, prefixes reused, rows that make room."""
    import torch

    spec = ENCODER_DECODERS.get(name, LONG)
    engine = TorchEngine(build(spec, dtype=torch.float64))
    source = None if spec.encoder is None else [4, 5, 6]
    beginning = BEGINNING[:12] if source else BEGINNING
    ways = [
        Sampling(temperature=0, max_tokens=8),
        Sampling(seed=3, max_tokens=8),
        BeamSearch(beam_size=2, max_tokens=6),
    ]
    asked = [
        BatchRequest(prompt=[*beginning[: 9 * i], 3], source=source, decoding=ways[i % 3], rules=RULES)
        for i in range(2 if source else 5)
    ]
    with batching(engine, prefill_tokens=7, max_batch_tokens=200, max_rows=4) as batcher:
        for _ in range(2):
            together = [outcome_of(ticket) for ticket in [batcher.submit(each) for each in asked]]
            assert [each.failed for each in together] == [None] * len(asked)
            for request, outcome in zip(asked, together, strict=True):
                if isinstance(request.decoding, Sampling):
                    assert outcome.ids() == naive(engine, request)
        assert_empty(batcher)
        assert (batcher.gauges().counters.prefix_hits > 0) == (source is None)


@needs_native
def test_prompt_log_probabilities_are_those_of_the_model() -> None:
    spec = LONG
    model, prompt = build(spec), [*BEGINNING, 5, 9]
    import torch

    with torch.no_grad():
        expected = model.double()(torch.tensor([prompt]))[0].log_softmax(-1).numpy()
    with batching(native_engine(), prefill_tokens=7) as batcher:
        outcome = answer(
            batcher, prompt=prompt, decoding=Sampling(temperature=0), max_tokens=0, prompt_logprobs=4, top_logprobs=4
        )
    assert outcome.ends[0].finish_reason == "length" and not outcome.tokens
    assert outcome.read.log_probs[0] is None and outcome.read.top[0] == ()
    for place in range(1, len(prompt)):
        assert outcome.read.log_probs[place] == pytest.approx(expected[place - 1, prompt[place]], abs=1e-4)
        best = outcome.read.top[place]
        assert [score.token_id for score in best] == np.argsort(-expected[place - 1])[:4].tolist()
        assert (outcome.read.log_probs[place] == best[0].log_prob) == (best[0].token_id == prompt[place])
