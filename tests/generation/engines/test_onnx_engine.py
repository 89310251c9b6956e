"""ONNX Runtime's engine against the reference, pass by pass and in a search."""

import subprocess
import sys
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from naive import PROMPTS, step

from openbook.errors import OpenbookError
from openbook.generation.beam_search import beam_search
from openbook.generation.engines.onnx_engine import OnnxEngine
from openbook.generation.engines.registry import open_engine
from openbook.generation.engines.torch_engine import TorchEngine
from openbook.generation.generate import generate
from openbook.generation.settings import BeamSearch, Sampling
from openbook.generation.token_rules import TokenRules
from openbook.model import load
from openbook.transformer.architecture import Experts
from strategies import DEFAULT, ORIGINAL, RELATIVE, build, difference

WINDOWED = replace(
    DEFAULT,
    decoder=replace(
        DEFAULT.decoder,
        blocks=tuple(
            replace(
                block, attention=replace(block.attention, window=window, attention_softcap=cap, sinks=cap is not None)
            )
            for block, window, cap in zip(DEFAULT.decoder.blocks, (3, None), (None, 5.0), strict=True)
        ),
    ),
)
SHAPES = {"windowed": WINDOWED, "original": ORIGINAL, "relative": RELATIVE}
"""Few, since each takes ten seconds to open; between them all kinds of positions, masks and grouping."""
SOURCES = [[3, 4, 5, 6], [7], [8, 9], [10, 11, 12, 13, 14, 15, 16]]


@cache
def engines(name):
    """Both engines of one model, opened once."""
    model = build(SHAPES[name])
    return TorchEngine(model), OnnxEngine(model)


def both(name, act):
    """The largest difference between the logits that `act` gives of both engines."""
    sources = None if SHAPES[name].encoder is None else SOURCES
    ours, theirs = (act(engine, sources) for engine in engines(name))
    assert len(ours) == len(theirs)
    return max(difference(one, other) for one, other in zip(ours, theirs, strict=True))


def test_rows_are_extended_saved_and_restored():
    tokens = [(3 * i + 1) % 23 for i in range(20)]

    def act(engine, sources):
        session, _ = engine.prefill([tokens[:17]])
        restored = engine.restore([session.save(0, 0, 16)])
        return [restored.extend([tokens[16:18]]), restored.extend([tokens[18:]], every=True)]

    assert both("windowed", act) < 1e-5


@pytest.mark.parametrize("name", SHAPES)
def test_every_pass_gives_the_reference_logits(name):
    def act(engine, sources):
        session, logits = engine.prefill(PROMPTS, sources)
        found = [logits, step(session, [1, 2, 3, 4])]
        session.reorder([2, 0, 0])
        found.append(step(session, [5, 6, 7]))
        session.truncate(session.length - 1)
        found.append(step(session, [8, 9, 10]))
        session.branch(np.array([[0, 0], [0, 0], [0, 0]]))
        found.append(step(session, [[4, 5], [6, 7], [8, 9]]))
        session.reorder([2, 0])
        for parents in ([[1, 1], [1, 0]], [[0, 0], [0, 1]]) * 6:  # past the first pruning
            session.branch(np.array(parents))
            found.append(step(session, [[10, 11], [12, 13]]))
        return found

    assert both(name, act) < 1e-5


@pytest.mark.parametrize("name", SHAPES)
def test_rows_that_join_are_served_too(name):
    def act(engine, sources):
        found = []
        session, _ = engine.prefill(PROMPTS[:2], sources and sources[:2])
        for _ in range(3):
            step(session, [5, 6])
        session.join([engine.prefill(PROMPTS[n : n + 1], sources and sources[n : n + 1])[0] for n in (2, 3)])
        found.append(step(session, [8, 9, 10, 11]))
        session.reorder([3, 2])
        session.branch(np.array([[0, 0], [0, 0]]))
        other, _ = engine.prefill(PROMPTS[:1], sources and sources[:1])
        other.branch(np.array([[0, 0]]))
        session.join([other])
        for parents in ([[1, 1], [1, 0], [0, 1]], [[0, 0], [0, 1], [0, 1]]) * 6:  # past the first pruning
            session.branch(np.array(parents))
            found.append(step(session, [[10, 11], [12, 13], [4, 5]]))
        return found

    assert both(name, act) < 1e-5


@pytest.mark.parametrize("name", SHAPES)
def test_one_row_of_one_token_is_served_and_can_become_several(name):
    def act(engine, sources):
        session, logits = engine.prefill([[5]], None if sources is None else [[4]])
        found = [logits, *(step(session, [token]) for token in (1, 2, 3))]
        session.reorder([0, 0, 0])
        return [*found, *(step(session, [token, 1, token]) for token in (4, 5))]

    assert both(name, act) < 1e-5


@pytest.mark.parametrize("count", [1, 2, 6, 20])
@pytest.mark.parametrize("beams", [1, 3])
def test_what_best_follows_is_the_same(beams, count):
    """From the graph, and where that has fewer groups than are wanted, from the logits."""
    suppressed = np.array([3, 7])
    sums = np.tile(np.float32([0.0, -0.5, -1.0])[:beams], (4, 1))
    found = []
    for engine in engines("relative"):
        session, _ = engine.prefill(PROMPTS, SOURCES)
        if beams > 1:
            session.branch(np.zeros((4, beams), dtype=np.int64))
        for number in range(3):
            found.append(session.step_topk(np.tile(np.arange(beams) + number + 8, (4, 1)), sums, suppressed, count))
    for one, other in zip(found[:3], found[3:], strict=True):
        assert (one.parents == other.parents).all() and (one.tokens == other.tokens).all()
        assert np.abs(one.log_probs - other.log_probs)[one.log_probs > -np.inf].max() < 1e-5
        assert not np.isin(one.tokens[one.log_probs > -np.inf], [3, 7]).any()


def test_searches_and_answers_are_the_same():
    ours, theirs = engines("relative")
    beams, rules = BeamSearch(beam_size=3, n_best=3, max_tokens=12), TokenRules(end_ids=frozenset({2}))
    found = [
        [
            [hypothesis.tokens for hypothesis in each.hypotheses]
            for each in sorted(beam_search(engine, [[1]] * 4, beams, rules, sources=SOURCES))
        ]
        for engine in (ours, theirs)
    ]
    assert found[0] == found[1]
    ours, theirs = engines("windowed")
    how = Sampling(temperature=1, seed=3, max_tokens=40)  # past the context of 24
    tokens = [[each.token_id for each in generate(engine, PROMPTS, how)] for engine in (ours, theirs)]
    assert tokens[0] == tokens[1]


def test_what_it_cannot_take_is_refused_with_the_cure():
    with pytest.raises(OpenbookError, match="float32: import the model with dtype=float32"):
        OnnxEngine(build(DEFAULT, dtype=torch.bfloat16))
    block = DEFAULT.decoder.blocks[0]
    mixture = replace(block, feed_forward=replace(block.feed_forward, experts=Experts(count=4, experts_per_token=2)))
    with pytest.raises(OpenbookError, match=r"cannot be written as an ONNX graph .*; take engine=torch"):
        OnnxEngine(build(replace(DEFAULT, decoder=replace(DEFAULT.decoder, blocks=(mixture,)))))
    with pytest.raises(OpenbookError, match="engine fast: must be one of auto, native, torch, onnx"):
        open_engine("fast", build(DEFAULT))
    with pytest.raises(OpenbookError, match="engine fast: must be one of auto, native, torch, onnx"):
        load("no such file", engine="fast")


def test_without_its_packages_it_says_which_extra_has_them():
    code = (
        "import sys; sys.modules['onnxruntime'] = None\n"
        "from strategies import DEFAULT, build\n"
        "from openbook.generation.engines.onnx_engine import OnnxEngine\n"
        "OnnxEngine(build(DEFAULT))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={"PYTHONPATH": ":".join(sys.path)}
    )
    assert "pip install 'openbook[onnx]'" in done.stderr
