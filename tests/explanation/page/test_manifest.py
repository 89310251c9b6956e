"""The manifest: the run in JSON, whatever its texts and numbers are."""

import json
import math

import pytest
from paged import HOSTILE, paged

from openbook.explanation.page.json_values import plain, to_json
from strategies import DEFAULT, ORIGINAL


@pytest.mark.parametrize("spec", [DEFAULT, ORIGINAL], ids=["decoder", "encoder-decoder"])
def test_tokens_say_who_made_them_and_which_step_read_them(spec):
    manifest = paged(spec).manifest()
    made = [token["made_by"] for token in manifest["tokens"]]
    first = ["prompt"] * 4 if spec is DEFAULT else ["start", "target", "target", "target"]
    assert made == [*first, "written", "written", "written"]
    assert [token["step"] for token in manifest["tokens"]] == [0, 0, 0, 0, 1, 2, 3]
    assert [step["reads"] for step in manifest["steps"]] == [[0, 4], [4, 5], [5, 6]]
    assert [step["token_index"] for step in manifest["steps"]] == [4, 5, 6]
    assert (manifest["source"] is None) == (spec is DEFAULT)
    assert manifest["model"]["kind"] == ("decoder-only" if spec is DEFAULT else "encoder-decoder")


def test_hostile_texts_stay_data():
    page = paged(DEFAULT, prompt=range(5))
    text = to_json(page.manifest())
    assert text.isascii() and "<" not in text and "&" not in text
    labels = [token["label"] for token in json.loads(text)["tokens"][:5]]
    assert labels == [HOSTILE[0], HOSTILE[1], "\\u202eback", "\\x1b[31m", "NaN"]


def test_half_a_surrogate_pair_does_not_break_the_json():
    page = paged(DEFAULT)
    page.asked = type(page.asked)("half \ud800 pair")
    assert json.loads(to_json(page.manifest()))["prompt"] == "half \ufffd pair"


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (math.nan, {"number": "NaN"}),
        (math.inf, {"number": "Infinity"}),
        (-math.inf, {"number": "-Infinity"}),
        ("NaN", "NaN"),
        ((1.5, None, True), [1.5, None, True]),
    ],
)
def test_numbers_that_are_not_finite_are_told_from_texts(value, written):
    assert plain(value) == written
    json.loads(to_json(value))


def test_ten_thousand_equal_tokens_are_refused_in_one_line():
    with pytest.raises(Exception, match="10,000 tokens; at most 24 can be explained"):
        paged(DEFAULT, prompt=[5] * 10_000)
