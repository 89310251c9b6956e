"""A budget that cannot teach is refused before it starts, with the shortest that can."""

import re
from unittest.mock import patch

import pytest
from training_examples import TINY, write_book

import openbook
from openbook.errors import OpenbookError
from openbook.progress import silent
from openbook.training.begin import begin
from openbook.training.plan.budget import LEAST_STEPS, check_budget
from openbook.training.request import TrainingRequest
from openbook.training.start import prepare_books


def shortest(minutes, *seconds):
    with pytest.raises(OpenbookError, match=f"minutes {minutes:g}: is too short") as caught:
        check_budget(minutes, *seconds)
    return float(re.search(r"give minutes (\S+) or more", str(caught.value))[1])


@pytest.mark.parametrize("seconds", [(5.0, 0.2, 1.0), (50.0, 20.0, 9.0), (0.5, 0.01, 0.2)])
def test_the_shortest_that_is_named_is_enough_and_hardly_more(seconds):
    before, step, after = seconds
    needed = (before + LEAST_STEPS * step + after) / 60
    found = shortest(0.99 * needed, *seconds)
    check_budget(found, *seconds)
    assert needed <= found <= 1.25 * needed
    check_budget(1.01 * needed, *seconds)


def test_a_run_is_refused_and_leaves_nothing(tmp_path):
    book = write_book(tmp_path / "book.txt")
    choices = {name: value for name, value in TINY.items() if name != "steps"}
    with (
        patch("openbook.training.plan.measure.step_seconds", lambda *arguments: 100.0),
        pytest.raises(OpenbookError, match=r"minutes 3: is too short to learn .*; give minutes \d+ or more"),
    ):
        openbook.train(book, tmp_path / "a.openbook", device="cpu", minutes=3, **choices | {"batch_tokens": 2048})
    assert [path.name for path in tmp_path.iterdir()] == ["book.txt"]


def test_much_text_is_refused_before_it_is_tokenized(tmp_path):
    request = TrainingRequest([write_book(tmp_path / "book.txt")], tmp_path / "a.openbook", {"minutes": 0.5})
    with (
        pytest.raises(OpenbookError, match=r"minutes 0.5: is too short"),
        begin(request, overwrite=False) as begun,
        patch("openbook.training.start.TOKENIZING_BYTES_PER_SECOND", 500),
    ):
        prepare_books(request, begun.folder, silent, lambda: 0.0)
    assert [path.name for path in tmp_path.iterdir()] == ["book.txt"]
