"""Each filter against the one of transformers, and the draw against what it must come out as."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers.generation import logits_process as theirs

from openbook.generation import sampling
from openbook.generation.arrays import softmax
from openbook.generation.sampling import History, filter_logits, sample, sampling_probabilities
from openbook.generation.settings import Sampling
from strategies import difference

V = 40


def some_logits(rows: int = 3, seed: int = 0) -> np.ndarray:
    return (4 * torch.randn(rows, V, generator=torch.Generator().manual_seed(seed))).numpy()


def history(prompts: list[list[int]]) -> History:
    return History(prompts, V)


FILTERS = [
    (lambda x, v: sampling.top_k(x, 1 + int(v * 50)), lambda v: theirs.TopKLogitsWarper(1 + int(v * 50))),
    (sampling.top_p, theirs.TopPLogitsWarper),
    (sampling.min_p, theirs.MinPLogitsWarper),
    (lambda x, v: sampling.temperature(x, 3 * v), lambda v: theirs.TemperatureLogitsWarper(3 * v)),
]


@pytest.mark.parametrize("number", range(len(FILTERS)), ids=["top_k", "top_p", "min_p", "temperature"])
@given(value=st.floats(0.01, 0.99), seed=st.integers(0, 1000))
def test_filters_equal_those_of_transformers(number, value, seed) -> None:
    ours, make = FILTERS[number]
    logits = some_logits(seed=seed).astype(np.float64)
    expected = make(value)(None, torch.from_numpy(logits)).numpy()
    assert difference(softmax(ours(logits, value)), softmax(expected)) < 1e-6
    if number < 3:
        assert np.array_equal(ours(logits, value), expected)


@given(st.floats(0.1, 5), st.lists(st.integers(0, V - 1), min_size=1, max_size=20))
def test_repetition_penalty_equals_that_of_transformers(penalty, tokens) -> None:
    logits = some_logits(1)
    expected = theirs.RepetitionPenaltyLogitsProcessor(penalty)(torch.tensor([tokens]), torch.from_numpy(logits))
    assert difference(sampling.repetition_penalty(logits, history([tokens]).seen, penalty), expected) < 1e-6


def test_the_chain_equals_that_of_transformers() -> None:
    logits, prompts = torch.from_numpy(some_logits()), [[1, 2], [3], [39, 0]]
    settings = Sampling(temperature=0.7, top_k=20, top_p=0.9, min_p=0.02, repetition_penalty=1.3)
    expected = logits
    for make, value in [
        (theirs.TemperatureLogitsWarper, 0.7),
        (theirs.TopKLogitsWarper, 20),
        (theirs.TopPLogitsWarper, 0.9),
        (theirs.MinPLogitsWarper, 0.02),
    ]:
        if make is theirs.TemperatureLogitsWarper:
            rows = [
                theirs.RepetitionPenaltyLogitsProcessor(1.3)(torch.tensor([p]), logits[[i]])
                for i, p in enumerate(prompts)
            ]
            expected = torch.cat(rows)
        expected = make(value)(None, expected)
    ours = sampling_probabilities(filter_logits(logits.numpy(), history(prompts), settings), settings)
    assert difference(ours, expected.softmax(-1)) < 1e-6
    assert np.array_equal(ours == 0, expected.numpy() == -np.inf)


def test_presence_penalty_counts_the_answer_alone_and_once() -> None:
    past = history([[1, 2], [3]])
    past.add(np.array([5, 6]))
    past.add(np.array([5, 7]))
    logits = np.zeros((2, V), dtype=np.float32)
    penalised = filter_logits(logits, past, Sampling(temperature=0, presence_penalty=1.5))
    assert np.argwhere(penalised).tolist() == [[0, 5], [1, 6], [1, 7]]
    assert set(penalised[penalised != 0].tolist()) == {-1.5}
    assert np.argwhere(past.seen).tolist() == [[0, 1], [0, 2], [0, 5], [1, 3], [1, 6], [1, 7]]
    past.reorder([1])
    assert np.argwhere(past.produced).tolist() == [[0, 6], [0, 7]]


def test_frequency_penalty_counts_and_biases_are_added() -> None:
    past = history([[1], [3]])
    past.add(np.array([5, 6]))
    past.add(np.array([5, 7]))
    logits = np.zeros((2, V), dtype=np.float32)
    penalised = filter_logits(logits, past, Sampling(temperature=0, frequency_penalty=0.5))
    assert {tuple(place): float(penalised[tuple(place)]) for place in np.argwhere(penalised).tolist()} == {
        (0, 5): -1.0,
        (1, 6): -0.5,
        (1, 7): -0.5,
    }
    biased = filter_logits(logits, past, Sampling(temperature=0, logit_bias={3: 2, 8: -1.5}))
    assert np.argwhere(biased).tolist() == [[0, 3], [0, 8], [1, 3], [1, 8]]
    assert biased[0, [3, 8]].tolist() == [2.0, -1.5] and not logits.any()


@given(st.floats(0.01, 0.999), st.integers(1, 3000), st.sampled_from([0.1, 1.0, 6.0]), st.integers(0, 2**32 - 1))
def test_top_p_of_large_vocabularies_keeps_the_fewest(p, size, spread, seed) -> None:
    logits = (spread * np.random.default_rng(seed).standard_normal((1, size))).astype(np.float64)
    kept = np.isfinite(sampling.top_p(logits, p))[0]
    shares = np.sort(softmax(logits)[0])[::-1]
    assert shares[: kept.sum()].sum() >= p - 1e-9 and shares[: kept.sum() - 1].sum() < p + 1e-9
    assert softmax(logits)[0][kept].min() >= shares[kept.sum() - 1]


def test_temperature_zero_puts_all_on_the_first_maximum() -> None:
    logits = some_logits()
    settings = Sampling(temperature=0, top_k=3, top_p=0.5, min_p=0.5)
    assert (
        sampling_probabilities(filter_logits(logits, history([[0]] * 3), settings), settings).argmax(-1).tolist()
        == logits.argmax(-1).tolist()
    )


@pytest.mark.parametrize("degree", [1e-300, 1e-45, 1e-3, 100.0])
def test_no_temperature_overflows(degree) -> None:
    settings = Sampling(temperature=degree, min_p=0)
    result = sampling_probabilities(filter_logits(1e4 * some_logits(), history([[0]] * 3), settings), settings)
    assert difference(result.sum(-1), np.ones(3)) < 1e-5


def test_draw_takes_the_token_whose_share_the_number_falls_on() -> None:
    shares = np.tile([[0.0, 0.25, 0.0, 0.5, 0.25, 0.0]], (6, 1))
    numbers = np.array([0.0, 0.2499, 0.25, 0.7499, 0.75, 1 - 2**-53])
    assert sample(shares, numbers).tolist() == [1, 1, 3, 3, 4, 4]


def test_draws_come_out_as_often_as_their_probabilities_say() -> None:
    count = 100_000
    shares = softmax(some_logits(1))
    numbers = np.random.default_rng(0).random(count)
    often = np.bincount(sample(np.broadcast_to(shares, (count, V)), numbers), minlength=V) / count
    assert np.abs(often - shares[0]).max() < 0.006  # four standard deviations at one half


def test_top_p_of_0_leaves_the_most_probable_token() -> None:
    logits = np.array([[0.0, 2.0, 2.0, -1.0], [3.0, 0.0, 0.0, 0.0]], np.float32)
    assert np.isfinite(sampling.top_p(logits, 0.0)).tolist() == [
        [False, True, False, False],
        [True, False, False, False],
    ]
