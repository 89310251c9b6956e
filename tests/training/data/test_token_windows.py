"""Windows: every epoch sees all of them once, and a batch is a function of seed and step alone."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from training_examples import books, recipe

from openbook.training.data.batching import permute
from openbook.training.data.language_modeling_task import TokenWindows, documents_at

KEYS = st.integers(0, 2**51)


def batch_of(windows, step, rows):
    return windows.cut(windows.starts(step, rows), step)[0]


@given(st.integers(1, 5000), KEYS)
def test_shuffled_is_a_permutation(size, key):
    assert np.array_equal(np.sort(permute(np.arange(size), size, key)), np.arange(size))


@given(st.integers(1, 5000), KEYS, st.data())
def test_each_index_goes_where_it_goes_among_all(size, key, data):
    some = np.array(data.draw(st.lists(st.integers(0, size - 1), max_size=20)), np.int64)
    assert np.array_equal(permute(some, size, key), permute(np.arange(size), size, key)[some])


@pytest.mark.parametrize("size", [100, 1000, 1024, 5000])
def test_shuffled_leaves_no_order(size):
    index = np.arange(size)
    one, other = permute(index, size, 1), permute(index, size, 2)
    assert (one == other).mean() < 0.05
    assert (one == index).mean() < 0.05
    assert (np.diff(one) == 1).mean() < 0.05  # neighbours part
    assert abs(np.corrcoef(index, one)[0, 1]) < 0.2


@given(st.integers(2, 3000), st.integers(1, 64), st.integers(0, 2**31 - 1), st.integers(0, 5))
def test_every_epoch_visits_each_window_once(count, context, seed, epoch):
    windows = TokenWindows(np.zeros(count, np.uint16), context, seed)
    each = windows.per_epoch
    starts = np.concatenate([windows.starts(epoch * each + number, 1) for number in range(each)])
    assert np.all(np.diff(np.sort(starts)) == context)
    assert len(starts) == each


def test_epochs_differ_in_order_and_offset():
    windows = TokenWindows(np.zeros(1000, np.uint16), 10, seed=1)
    epochs = [windows.starts(number, windows.per_epoch) for number in range(8)]
    assert len({tuple(starts) for starts in epochs}) == 8
    assert len({starts[0] % 10 for starts in epochs}) > 1


def test_every_token_can_be_seen_and_guessed():
    windows = TokenWindows(np.arange(100, dtype=np.uint16), 10, seed=1)
    seen = {int(token) for step in range(200) for row in batch_of(windows, step, 4) for token in row}
    assert seen == set(range(100))


@given(st.integers(2, 300), st.integers(1, 64), st.integers(0, 1000), st.integers(1, 9))
def test_windows_stay_within_the_tokens(count, context, step, rows):
    windows = TokenWindows(np.arange(count, dtype=np.uint16), context, seed=3)
    starts, batch = windows.starts(step, rows), batch_of(windows, step, rows)
    assert batch.shape == (rows, min(context + 1, count))
    assert torch.equal(batch, torch.from_numpy(starts)[:, None] + torch.arange(batch.shape[1]))
    assert batch.max() < count


@given(st.integers(0, 2**31 - 1), st.integers(0, 10**6))
def test_a_batch_is_a_function_of_seed_and_step(seed, step):
    tokens = np.arange(5000, dtype=np.uint16)
    batch = batch_of(TokenWindows(tokens, 16, seed), step, 8)
    np.random.seed(0)
    torch.manual_seed(0)
    assert torch.equal(batch, batch_of(TokenWindows(tokens, 16, seed), step, 8))
    assert not torch.equal(batch, batch_of(TokenWindows(tokens, 16, seed), step + 1, 8))
    assert not torch.equal(batch, batch_of(TokenWindows(tokens, 16, seed + 1), step, 8))


@pytest.mark.parametrize("world", [1, 2, 3, 8])
def test_processes_share_the_micro_batches_of_a_step(world):
    task = books(recipe(batch_tokens=96, micro_batch_size=1, bpe_dropout=0.0))
    whole = list(task.batches(5))
    shares = [list(task.batches(5, slice(rank, None, world))) for rank in range(world)]
    for number, (batch, count) in enumerate(whole):
        same, same_count = shares[number % world][number // world]
        assert torch.equal(same.target, batch.target) and same_count == count
    assert sum(map(len, shares)) == len(whole) == 6


def test_documents_are_told_apart():
    _, places = TokenWindows(np.arange(20, dtype=np.uint16), 5, seed=1).cut(np.array([0, 4]), 0)
    assert documents_at(places, np.array([0, 3, 6])).tolist() == [[1, 1, 1, 2, 2, 2], [2, 2, 3, 3, 3, 3]]
