"""The mean of recent losses forgets the high first ones."""

import pytest

from openbook.training.report.recent_mean import MOST, RecentMean


def test_it_is_the_mean_of_the_last_tenth():
    mean = RecentMean()
    assert mean.value == 0.0
    values = [10.0 / (1 + number) for number in range(500)]
    means = [mean.add(value) for value in values]
    assert means[:19] == values[:19]  # in a short run the last value itself
    assert means[49] == pytest.approx(sum(values[45:50]) / 5)
    assert means[499] == pytest.approx(sum(values[500 - MOST : 500]) / MOST) == mean.value


def test_a_run_of_eight_steps_ends_where_its_curve_ends():
    mean = RecentMean()
    for value in (4.0, 3.1, 2.4, 1.8, 1.3, 1.0, 0.7, 0.58):
        mean.add(value)
    assert mean.value == 0.58
