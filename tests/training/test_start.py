"""A run begins without PyTorch: the text is prepared while that is imported, and the run finds it."""

import subprocess
import sys
from contextlib import contextmanager
from unittest.mock import patch

import pytest
from training_examples import TINY, same, weights, write_book

import openbook
from openbook.errors import OpenbookError
from openbook.training import start
from openbook.training.begin import begin
from openbook.training.request import TrainingRequest
from openbook.training.run import TrainingRun

CHOICES = TINY | {"vocab_size": 300, "steps": 4}

SCRIPT = """
import sys
from pathlib import Path
from openbook.progress import silent
from openbook.training.start import RUN, train
from openbook.training.request import TrainingRequest
assert "torch" not in sys.modules, "imported too early"
seen = []
def track(title, total):
    seen.append((title, RUN in sys.modules))
    return silent(title, total)
train(TrainingRequest(["book.txt"], Path("cold.openbook"), CHOICES, device="cpu"), [], track, lambda: 0.0)
assert [title for title, _ in seen].count("Training the tokenizer") == 1
""".replace("CHOICES", repr(CHOICES))


@pytest.fixture(autouse=True)
def _measured():
    with patch("openbook.training.plan.measure.step_seconds", lambda *arguments: 0.01):
        yield


def test_a_cold_start_gives_the_same_weights(tmp_path):
    book = write_book(tmp_path / "book.txt")
    subprocess.run([sys.executable, "-c", SCRIPT], cwd=tmp_path, check=True, capture_output=True, timeout=600)
    warm = openbook.train(book, tmp_path / "warm.openbook", device="cpu", **CHOICES)
    assert same(weights(openbook.load(tmp_path / "cold.openbook", "cpu").transformer), weights(warm.transformer))


def test_what_is_prepared_is_found_and_other_choices_prepare_anew(tmp_path):
    titles = []

    @contextmanager
    def track(title, total):
        titles.append(title)
        yield lambda amount: None

    def request(vocab_size):
        choices = CHOICES | {"vocab_size": vocab_size}
        return TrainingRequest([book], tmp_path / "a.openbook", choices, device="cpu")

    book = write_book(tmp_path / "book.txt")
    with begin(request(300), overwrite=False) as begun:
        start.prepare_books(request(300), begun.folder, track, lambda: 0.0)
        assert titles.count("Training the tokenizer") == titles.count("Reading books") == 1
        TrainingRun(request(300), track=track).run_in(begun, overwrite=False)
    assert titles.count("Training the tokenizer") == titles.count("Reading books") == 1
    TrainingRun(request(320), track=track).run(overwrite=True)
    assert titles.count("Training the tokenizer") == 2 and titles.count("Reading books") == 1


def test_pairs_and_other_devices_prepare_nothing_early(tmp_path):
    for options in ({"pairs": True}, {"conversations": True}, {"tiny": True}, {"device": "cuda"}):
        start.prepare_books(TrainingRequest(["none"], tmp_path / "a.openbook", {}, **options), None, None, None)
    with pytest.raises(OpenbookError, match="device vulkan"):
        start.train(TrainingRequest(["none"], tmp_path / "a.openbook", {}, device="vulkan"), [], None, None)
    assert not list(tmp_path.iterdir())
