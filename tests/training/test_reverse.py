"""The toy proof: strings of 1 to 25 letters are reversed."""

import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def reverse(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import reverse

    yield reverse
    sys.modules.pop("reverse")


def test_test_strings_are_unseen_and_always_the_same(reverse, monkeypatch):
    monkeypatch.setattr(reverse, "PAIRS", 2000)
    strings, tests = reverse.make_strings(1)
    assert (strings, tests) == reverse.make_strings(1)
    assert not set(strings) & {string for some in tests.values() for string in some}
    assert {len(string) for string in strings} == set(range(1, 26))
    assert all({len(string) for string in some} == {length} for length, some in tests.items())


@pytest.mark.slow
def test_letters_are_reversed(reverse, tmp_path):
    """By updates, not by time, so that a busy machine reaches the same: as many as three quiet minutes allow."""
    strings, tests = reverse.make_strings(1)
    model, _ = reverse.train_reverser(strings, tmp_path, [*reverse.OPTIONS, "--steps", "1000"])
    exact = reverse.score_reverser(model, tests)
    right = [exact[length] * len(tests[length]) for length in range(1, 26)]
    assert sum(right) / sum(len(tests[length]) for length in range(1, 26)) >= 0.99
