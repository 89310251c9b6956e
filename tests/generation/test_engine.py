"""The reference engine against passes without cache and padding."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from naive import PROMPTS, default_model, naive_logits

from openbook.generation.engine import TorchEngine
from strategies import VOCABULARY, architectures, build, difference

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
        logits = session.step(torch.tensor([row[-1] for row in rows]))
        assert difference(logits, expected(model, rows)) < 1e-5


def test_session_reorders_and_truncates() -> None:
    model = default_model()
    session, _ = TorchEngine(model).prefill(PROMPTS)
    session.step(torch.tensor([1, 2, 3, 4]))
    session.reorder(torch.tensor([2, 0, 0]))
    logits = session.step(torch.tensor([5, 6, 7]))
    rows = [[*PROMPTS[2], 3, 5], [*PROMPTS[0], 1, 6], [*PROMPTS[0], 1, 7]]
    assert difference(logits, expected(model, rows)) < 1e-5
    session.truncate(session.length - 1)
    logits = session.step(torch.tensor([8, 9, 10]))
    rows = [[*PROMPTS[2], 3, 8], [*PROMPTS[0], 1, 9], [*PROMPTS[0], 1, 10]]
    assert difference(logits, expected(model, rows)) < 1e-5


def test_sessions_do_not_meet() -> None:
    model = default_model()
    engine = TorchEngine(model)
    first, _ = engine.prefill([PROMPTS[0]])
    second, _ = engine.prefill([PROMPTS[2]])
    logits = first.step(torch.tensor([1]))
    second.step(torch.tensor([2]))
    assert difference(logits, expected(model, [[*PROMPTS[0], 1]])) < 1e-5


def test_the_model_is_left_as_it_was_and_shared() -> None:
    model = default_model().train()
    engine = TorchEngine(model)
    before = engine.prefill([PROMPTS[0]])[1]
    assert model.training and all(type(parameter) is torch.nn.Parameter for parameter in model.parameters())
    with torch.no_grad():
        model.token_embedding.weight.mul_(-0.5)
    assert difference(engine.prefill([PROMPTS[0]])[1], before) > 1e-3
