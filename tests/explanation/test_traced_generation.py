"""Traced generation: what real generation writes, each step from the cache, with numbers that recompute."""

import numpy as np
import pytest
import torch

from openbook.errors import OpenbookError
from openbook.explanation import traced_generation
from openbook.explanation.derivations import relative_errors
from openbook.explanation.run import explain
from openbook.explanation.traced_generation import run_of, trace_generation
from openbook.generation.engines.torch_engine import TorchEngine
from openbook.generation.generate import generate
from openbook.generation.settings import Sampling
from openbook.generation.token_rules import TokenRules
from strategies import DEFAULT, ORIGINAL, RELATIVE, build

PROMPT, SOURCE = [3, 1, 4, 1], [5, 9, 2]
GREEDY = Sampling(temperature=0.0, max_tokens=5)
DRAWN = Sampling(temperature=1.2, seed=7, max_tokens=5)


def source_of(spec):
    return None if spec.encoder is None else SOURCE


@pytest.mark.parametrize("settings", [GREEDY, DRAWN], ids=["greedy", "drawn"])
@pytest.mark.parametrize("spec", [DEFAULT, ORIGINAL, RELATIVE], ids=["decoder", "encoder-decoder", "relative"])
def test_it_writes_what_generation_writes(spec, settings):
    model, source = build(spec), source_of(spec)
    run = trace_generation(model, PROMPT, settings, source=source)
    sources = None if source is None else [source]
    plain = list(generate(TorchEngine(model), [PROMPT], settings, sources=sources))
    assert run.tokens == [*PROMPT, *(token.token_id for token in plain)]
    assert [step.chosen.probability for step in run.steps] == pytest.approx(
        [token.probability for token in plain], rel=1e-5
    )
    assert [(step.first, step.end) for step in run.steps] == [(0, 4), (4, 5), (5, 6), (6, 7), (7, 8)]
    assert run.finish_reason == "length"
    drawn = None if settings is GREEDY else np.random.default_rng(7).random(5).tolist()
    assert [step.drawn for step in run.steps] == (drawn or [None] * 5)


@pytest.mark.parametrize("spec", [DEFAULT, ORIGINAL], ids=["decoder", "encoder-decoder"])
def test_every_number_of_every_step_recomputes(spec):
    run = trace_generation(build(spec), PROMPT, GREEDY, source=source_of(spec))
    for step in run.steps:
        assert max(relative_errors(run.model, run.trace(step.number)).values()) < 1e-5


def test_a_later_step_reads_one_token_and_takes_the_rest_from_the_cache():
    run = trace_generation(build(ORIGINAL), PROMPT, GREEDY, source=SOURCE)
    trace = run.trace(2)
    assert trace["tokens"].value.tolist() == [[run.tokens[5]]]
    assert trace["decoder.blocks.0.self_attention.weights"].value.shape == (1, 4, 1, 6)
    assert "encoder.embedded" not in trace and "decoder.blocks.0.cross_attention.key" not in trace
    assert "encoder.embedded" in run.trace(0)


@pytest.mark.parametrize("spec", [DEFAULT, ORIGINAL], ids=["decoder", "encoder-decoder"])
def test_traces_that_do_not_fit_the_memory_are_recorded_again_to_the_bit(spec, monkeypatch):
    model, source = build(spec), source_of(spec)
    kept = trace_generation(model, PROMPT, GREEDY, source=source)
    monkeypatch.setattr(traced_generation, "KEPT_BYTES", 1)
    again = trace_generation(model, PROMPT, GREEDY, source=source)
    for step in (3, 0, 1, 4, 2):
        one, other = kept.trace(step), again.trace(step)
        assert list(one) == list(other)
        assert all(torch.equal(one[path].value, other[path].value) for path in one)
    assert len(again._engine._traces) == 1


def test_an_end_token_ends_it_and_the_context_too():
    model = build(DEFAULT)
    first = trace_generation(model, PROMPT, GREEDY).tokens[4]
    ended = trace_generation(model, PROMPT, GREEDY, TokenRules(end_ids=frozenset({first})))
    assert (ended.tokens[4:], ended.finish_reason) == ([first], "end")
    full = trace_generation(model, [1] * 22, Sampling(temperature=0.0, max_tokens=99))
    assert len(full.tokens) == DEFAULT.context + 1  # the last one is written and not read


def test_an_explained_pass_is_a_run_of_one_step():
    model = build(DEFAULT)
    explained = explain(model, PROMPT)
    run = run_of(explained)
    assert run.trace(0) is explained.trace
    assert run.tokens == [*PROMPT, explained.choice.item()]
    assert run.steps[0].chosen.probability == pytest.approx(explained.probabilities.max().item())


def test_what_is_too_long_is_refused_before_anything_runs():
    with pytest.raises(OpenbookError, match="25 tokens; at most 24 can be explained"):
        trace_generation(build(DEFAULT), [1] * 25, GREEDY)
    with pytest.raises(OpenbookError, match="takes an encoder-decoder"):
        trace_generation(build(DEFAULT), PROMPT, GREEDY, source=SOURCE)


def test_without_a_seed_one_is_drawn_and_kept():
    model = build(DEFAULT)
    run = trace_generation(model, PROMPT, Sampling(temperature=1.0, max_tokens=4))
    assert run.settings.seed is not None
    assert trace_generation(model, PROMPT, run.settings).tokens == run.tokens


@pytest.mark.parametrize("spec", [DEFAULT, ORIGINAL], ids=["decoder", "encoder-decoder"])
def test_an_answer_is_computed_again_with_its_own_tokens(spec):
    model, source = build(spec), source_of(spec)
    drawn = Sampling(temperature=2.0, max_tokens=5, seed=3)
    run = trace_generation(model, PROMPT, drawn, source=source)
    written = run.tokens[len(PROMPT) :]
    again = trace_generation(model, PROMPT, drawn, source=source, written=written)
    assert again.steps == run.steps and again.tokens == run.tokens
    other = [(token + 1) % spec.vocab_size for token in written]
    forced = trace_generation(model, PROMPT, drawn, source=source, written=other)
    assert forced.tokens[len(PROMPT) :] == other
    assert [step.drawn for step in forced.steps] == [step.drawn for step in run.steps]
    for step in forced.steps:
        logits = forced.logits(step.number)
        probability = np.exp(logits - logits.max())[step.chosen.token_id] / np.exp(logits - logits.max()).sum()
        assert step.chosen.probability == pytest.approx(float(probability), rel=1e-5)
    with pytest.raises(OpenbookError, match="written"):
        trace_generation(model, PROMPT, drawn, source=source, written=[spec.vocab_size])


def test_traces_take_no_more_memory_than_they_may():
    free = trace_generation(build(DEFAULT), PROMPT, GREEDY)
    bounded = trace_generation(build(DEFAULT), PROMPT, GREEDY, most_bytes=1)
    assert bounded.kept_bytes < free.kept_bytes
    assert len(bounded._engine._traces) == 1
