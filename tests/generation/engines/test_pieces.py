"""Prompts read in pieces, and rows saved and restored, on every engine that can."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from naive import PROMPTS

from openbook.errors import OpenbookError
from openbook.generation.engines.engine import BLOCK_TOKENS
from openbook.generation.engines.native.engine import NativeEngine
from openbook.generation.engines.native.from_torch import as_weights
from openbook.generation.engines.native.library import find_library
from openbook.generation.engines.torch_engine import TorchEngine
from openbook.transformer.architecture import Position, RopeScaling
from strategies import DEFAULT, ORIGINAL, VOCABULARY, architectures, build, difference, with_windows

LONG = replace(DEFAULT, context=80)
TOKENS = [(5 * i + i // 3) % VOCABULARY for i in range(70)]

pieces = st.lists(st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=4), min_size=3, max_size=3)


def native(spec):
    if find_library() is None:
        pytest.skip("the native engine is not compiled")
    return NativeEngine(spec, as_weights(build(spec)), threads=2)


@torch.no_grad()
def reference(model, row):
    return model(torch.tensor([row]))[0]


@given(architectures(max_layers=2), pieces, pieces)
def test_pieces_of_unequal_lengths_are_each_as_if_alone(spec, first, second) -> None:
    model = build(spec, dtype=torch.float64)
    session, _ = TorchEngine(model).prefill(first)
    every = session.extend(second, every=True)
    rows = [one + other for one, other in zip(first, second, strict=True)]
    expected = [reference(model, row) for row in rows]
    assert difference(every, torch.cat([e[len(one) :] for e, one in zip(expected, first, strict=True)])) < 1e-5
    logits = session.extend([[3], [4, 5, 6], [7, 8]])
    rows = [row + more for row, more in zip(rows, ([3], [4, 5, 6], [7, 8]), strict=True)]
    assert difference(logits, torch.stack([reference(model, row)[-1] for row in rows])) < 1e-5
    logits = session.step(np.array([[9], [10], [11]]))[:, 0]
    rows = [[*row, token] for row, token in zip(rows, (9, 10, 11), strict=True)]
    assert difference(logits, torch.stack([reference(model, row)[-1] for row in rows])) < 1e-5


@pytest.mark.parametrize("window", [None, 5])
@pytest.mark.parametrize("make", [native, lambda spec: TorchEngine(build(spec))], ids=["native", "torch"])
def test_a_row_is_restored_from_its_blocks(make, window) -> None:
    spec = with_windows(LONG, window)
    engine = make(spec)
    session, _ = engine.prefill([TOKENS[:20], TOKENS[:61], [1]])
    blocks = [session.save(1, start, start + BLOCK_TOKENS) for start in range(0, 48, BLOCK_TOKENS)]
    assert all(block.nbytes == blocks[0].nbytes > 0 for block in blocks)
    alone, whole = engine.prefill([TOKENS[:50]])
    restored = engine.restore(blocks)
    assert restored.length == 48
    again = restored.extend([TOKENS[48:50]])
    other = engine.restore(blocks)
    other.extend([[1, 2]])  # changes nothing of the first
    restored.join([other])
    restored.reorder([0])
    following = restored.step(np.array([[4]]))
    expected = alone.step(np.array([[4]]))
    if engine.is_split_invariant:
        assert np.array_equal(again, whole) and np.array_equal(following, expected)
    assert difference(again, whole) < 1e-5 and difference(following, expected) < 1e-5


@pytest.mark.parametrize("make", [native, lambda spec: TorchEngine(build(spec))], ids=["native", "torch"])
def test_what_cannot_be_saved_or_extended(make) -> None:
    session, _ = make(LONG).prefill([TOKENS[:20]])
    session.branch(np.array([[0, 0]]))
    with pytest.raises((ValueError, OpenbookError)):
        session.save(0, 0, BLOCK_TOKENS)
    with pytest.raises((ValueError, OpenbookError)):
        session.extend([[1]])
    session, _ = make(ORIGINAL).prefill([TOKENS[:20]], [[1, 2]])
    with pytest.raises((ValueError, OpenbookError)):
        session.save(0, 0, BLOCK_TOKENS)


def test_the_library_checks_blocks() -> None:
    engine = native(LONG)
    session, _ = engine.prefill([TOKENS[:20]])
    for row, start, stop in ((1, 0, 16), (0, 16, 32), (0, -16, 0), (0, 8, 24), (0, 0, 0)):
        with pytest.raises(OpenbookError):
            session.save(row, start, stop)
    block = session.save(0, 0, 16)
    with pytest.raises(OpenbookError, match="block"):
        engine.restore([block] * 6)  # 96 tokens, and the context is 80
    with pytest.raises(OpenbookError):
        engine.restore([])


def test_angles_that_follow_from_the_length_are_no_promise() -> None:
    scaling = RopeScaling(kind="dynamic", factor=2.0, original_context=8)
    dynamic = replace(LONG, decoder=replace(LONG.decoder, position=Position(rope_scaling=scaling)))
    assert native(LONG).is_split_invariant and native(LONG).is_batch_invariant
    assert native(dynamic).is_batch_invariant and not native(dynamic).is_split_invariant
    assert not TorchEngine(build(LONG)).is_batch_invariant


def test_a_cache_gives_back_columns_of_padding() -> None:
    model = build(LONG)
    session, _ = TorchEngine(model).prefill([TOKENS[:60], *PROMPTS])
    session.reorder([1, 2])
    assert session.length == max(map(len, PROMPTS[:2]))
    logits = session.step(np.array([[5], [6]]))[:, 0]
    rows = [[*PROMPTS[0], 5], [*PROMPTS[1], 6]]
    assert difference(logits, torch.stack([reference(model, row)[-1] for row in rows])) < 1e-5
