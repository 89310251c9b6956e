"""The choice: the stages of generation, and a draw that picks the token that generation picked."""

import numpy as np
import pytest
from paged import paged

from openbook.errors import OpenbookError
from openbook.explanation.views.choice import choice
from openbook.generation.arrays import softmax
from openbook.generation.token_rules import TokenRules
from strategies import DEFAULT

SETTINGS = {"temperature": 0.9, "top_k": 9, "top_p": 0.9, "min_p": 0.1, "repetition_penalty": 1.3, "seed": 5}


@pytest.mark.parametrize("settings", [{}, SETTINGS, {"temperature": 2.0, "min_p": 0.0, "seed": 1}])
def test_it_is_the_choice_of_the_run(settings):
    page = paged(DEFAULT, max_tokens=6, **settings)
    for step in page.run.steps:
        found = choice(page.run, step.number)
        assert found.chosen == step.chosen.token_id
        assert found.drawn == step.drawn
        (chosen,) = [option for option in found.options if option.token == found.chosen]
        assert chosen.probability == pytest.approx(step.chosen.probability, rel=1e-5)
        assert chosen.sampling_probability == pytest.approx(step.chosen.sampling_probability, rel=1e-5)
        if found.drawn is not None:
            assert chosen.start <= found.drawn < chosen.end


def test_stages_drop_more_and_more_and_say_so():
    page = paged(DEFAULT, **SETTINGS)
    found = page.view("choice", {"step": "0"})
    on = [stage["name"] for stage in found["stages"] if stage["on"]]
    assert on == ["logits", "repetition_penalty", "temperature", "top_k", "top_p", "min_p"]
    kept = [stage["kept"] for stage in found["stages"]]
    assert kept == sorted(kept, reverse=True) and kept[0] == 23
    dropped = {candidate["dropped_by"] for candidate in found["candidates"]} - {None}
    assert dropped <= {"top_k", "top_p", "min_p"} and "top_k" in dropped
    alive = [candidate for candidate in found["candidates"] if candidate["dropped_by"] is None]
    assert sum(candidate["to"] - candidate["from"] for candidate in alive) == pytest.approx(1)
    assert len(alive) == kept[-1]


def test_other_settings_choose_as_sampling_would():
    page = paged(DEFAULT)
    found = choice(page.run, 0, {"temperature": 1.0, "min_p": 0.0, "seed": 3})
    probabilities = softmax(page.run.logits(0)[None])[0]
    drawn = np.random.default_rng(3).random()
    assert found.drawn == drawn
    assert found.chosen == int(np.searchsorted(probabilities.cumsum(dtype=np.float64), drawn, side="right"))


def test_tokens_that_a_rule_leaves_out_are_dropped_by_it():
    page = paged(DEFAULT, rules=TokenRules(suppressed=(4, 7)))
    found = choice(page.run, 0)
    assert {option.token for option in found.options if option.dropped_by == "rules"} == {4, 7}


@pytest.mark.parametrize("changes", [{"temperature": "x"}, {"top_p": "2"}, {"seed": "-1"}, {"temperature": "nan"}])
def test_a_wrong_setting_is_refused(changes):
    with pytest.raises(OpenbookError):
        paged(DEFAULT).view("choice", changes)
