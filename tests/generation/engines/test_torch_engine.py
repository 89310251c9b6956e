"""The reference engine against passes without cache and padding."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from naive import PROMPTS, default_model, naive_logits, step

from openbook.errors import OpenbookError
from openbook.generation.engines.torch_engine import TorchEngine
from strategies import (
    HALVES,
    ORIGINAL,
    SOURCE_VOCABULARY,
    VOCABULARY,
    architectures,
    build,
    difference,
    translators,
)

prompts = st.lists(st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=9), min_size=1, max_size=4)


def expected(model, rows):
    return torch.stack([naive_logits(model, row) for row in rows])


@given(architectures(), prompts, st.lists(st.integers(0, VOCABULARY - 1), min_size=4, max_size=4))
def test_padded_is_unpadded(spec, rows, tokens) -> None:
    """Prompts of unequal lengths in one batch have the logits that each has alone, in prefill and steps."""
    model = build(spec, dtype=torch.float64)
    session, logits = TorchEngine(model).prefill(rows)
    assert difference(logits, expected(model, rows)) < 1e-5
    for token in tokens:
        rows = [[*row, (token + i) % VOCABULARY] for i, row in enumerate(rows)]
        logits = step(session, [row[-1] for row in rows])
        assert difference(logits, expected(model, rows)) < 1e-5


sources_of = st.lists(st.lists(st.integers(0, SOURCE_VOCABULARY - 1), min_size=1, max_size=7), min_size=4, max_size=4)


@torch.no_grad()
def alone(model, rows, sources):
    """The logits after the last token of each target, each pair by itself without a cache."""
    pairs = [(torch.tensor([row]), torch.tensor([source])) for row, source in zip(rows, sources, strict=True)]
    return torch.stack([model(row, source=source)[0, -1] for row, source in pairs])


@given(translators(), prompts, sources_of, st.lists(st.integers(0, VOCABULARY - 1), min_size=3, max_size=3))
def test_sources_of_unequal_lengths_are_each_as_if_alone(model, rows, sources, tokens) -> None:
    sources = sources[: len(rows)]
    session, logits = TorchEngine(model).prefill(rows, sources)
    assert difference(logits, alone(model, rows, sources)) < 1e-5
    for token in tokens:
        rows = [[*row, (token + i) % VOCABULARY] for i, row in enumerate(rows)]
        logits = step(session, [row[-1] for row in rows])
        assert difference(logits, alone(model, rows, sources)) < 1e-5


@given(translators())
def test_beams_of_unequal_sources_are_each_as_if_alone(model) -> None:
    """Branched, dropped and truncated as a search does it."""
    prompts, sources = [[1], [2], [3]], [[1, 2, 3], [4], [5, 6, 7, 8, 9]]
    session, _ = TorchEngine(model).prefill(prompts, sources)
    session.branch(np.array([[0, 0], [0, 0], [0, 0]]))
    step(session, [[4, 5], [6, 7], [8, 9]])
    session.reorder([2, 0])
    session.branch(np.array([[1, 1], [1, 0]]))
    logits = step(session, [[10, 11], [12, 13]])
    rows = [[3, 9, 10], [3, 9, 11], [1, 5, 12], [1, 4, 13]]
    expected = alone(model, rows, [sources[2], sources[2], sources[0], sources[0]])
    assert difference(logits.reshape(-1, logits.shape[-1]), expected) < 1e-5


def test_each_kind_says_what_it_needs() -> None:
    with pytest.raises(OpenbookError, match="encoder-decoder: it needs a source"):
        TorchEngine(build(ORIGINAL)).prefill([[1]])
    with pytest.raises(OpenbookError, match="at least one token"):
        TorchEngine(build(ORIGINAL)).prefill([[1], [2]], [[3], []])
    with pytest.raises(OpenbookError, match="decoder-only: it reads no sources"):
        TorchEngine(default_model()).prefill([[1]], [[2]])
    assert TorchEngine(default_model()).source_vocab_size is None
    assert TorchEngine(build(ORIGINAL)).source_vocab_size == VOCABULARY
    assert TorchEngine(build(HALVES)).source_vocab_size == SOURCE_VOCABULARY


def test_session_reorders_and_truncates() -> None:
    model = default_model()
    session, _ = TorchEngine(model).prefill(PROMPTS)
    step(session, [1, 2, 3, 4])
    session.reorder([2, 0, 0])
    logits = step(session, [5, 6, 7])
    rows = [[*PROMPTS[2], 3, 5], [*PROMPTS[0], 1, 6], [*PROMPTS[0], 1, 7]]
    assert difference(logits, expected(model, rows)) < 1e-5
    session.truncate(session.length - 1)
    logits = step(session, [8, 9, 10])
    rows = [[*PROMPTS[2], 3, 8], [*PROMPTS[0], 1, 9], [*PROMPTS[0], 1, 10]]
    assert difference(logits, expected(model, rows)) < 1e-5


def test_sessions_do_not_meet() -> None:
    model = default_model()
    engine = TorchEngine(model)
    first, _ = engine.prefill([PROMPTS[0]])
    second, _ = engine.prefill([PROMPTS[2]])
    logits = step(first, [1])
    step(second, [2])
    assert difference(logits, expected(model, [[*PROMPTS[0], 1]])) < 1e-5


def test_the_model_is_left_as_it_was_and_shared() -> None:
    model = default_model().train()
    engine = TorchEngine(model)
    before = engine.prefill([PROMPTS[0]])[1]
    assert model.training and all(type(parameter) is torch.nn.Parameter for parameter in model.parameters())
    with torch.no_grad():
        model.token_embedding.weight.mul_(-0.5)
    assert difference(engine.prefill([PROMPTS[0]])[1], before) > 1e-3
