"""The picture of a run: both curves in one unit, with a title and a legend."""

from unittest.mock import patch

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from openbook.training.report.loss_curve import save_curve

STEPS = [{"event": "step", "step": n, "loss": 9.0 / n, "bits_per_byte": 4.0 / n} for n in range(1, 41)]
SCORES = [{"event": "validation", "step": n, "score": 5.0 / n} for n in (10, 20, 40)]


def drawn(events, path):
    figures = []
    save = Figure.savefig
    with patch.object(Figure, "savefig", lambda self, *a, **k: figures.append(self) or save(self, *a, **k)):
        save_curve(events, path)
    (axes,) = figures[0].axes
    assert path.stat().st_size > 1000
    return axes


def test_training_and_held_out_are_on_one_axis_in_bits_per_byte(tmp_path):
    folder = tmp_path / "austen.openbook.training"
    folder.mkdir()
    axes: Axes = drawn([*STEPS, *SCORES], folder / "loss.png")
    assert (axes.get_title(), axes.get_xlabel(), axes.get_ylabel()) == ("austen.openbook", "step", "bits per byte")
    names = ["training, each step", "training, mean of the last steps", "held-out text"]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == names
    each, mean, held_out = axes.get_lines()
    assert list(each.get_ydata()) == [event["bits_per_byte"] for event in STEPS]
    assert mean.get_ydata()[-1] == pytest.approx(sum(4.0 / n for n in range(37, 41)) / 4)
    assert list(held_out.get_ydata()) == [event["score"] for event in SCORES]
    assert axes.get_xlim()[0] == 0


def test_a_run_that_ended_before_its_first_step_has_a_picture_too(tmp_path):
    assert drawn([], tmp_path / "loss.svg").get_legend() is None
