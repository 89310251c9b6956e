"""Nonsense is refused with what would be allowed."""

import math

import pytest

from openbook.errors import OpenbookError
from openbook.generation.settings import Sampling

REFUSED = [
    ({"temperature": -0.1}, "temperature is -0.1; give a number from 0 to 100"),
    ({"temperature": math.nan}, "temperature is nan; give a number from 0 to 100"),
    ({"temperature": math.inf}, "temperature is inf; give a number from 0 to 100"),
    ({"temperature": "hot"}, "temperature is 'hot'; give a number from 0 to 100"),
    ({"temperature": True}, "temperature is True; give a number from 0 to 100"),
    ({"temperature": None}, "temperature is None; give a number from 0 to 100"),
    ({"temperature": 10**400}, "give a number from 0 to 100"),
    ({"top_k": 0}, "top_k is 0; give a whole number from 1 to 16777216"),
    ({"top_k": 2.0}, "top_k is 2.0; give a whole number from 1 to 16777216"),
    ({"top_p": -0.5}, "top_p is -0.5; give a number from 0 to 1"),
    ({"top_p": 1.01}, "top_p is 1.01; give a number from 0 to 1"),
    ({"min_p": -1}, "min_p is -1; give a number from 0 to 1"),
    ({"repetition_penalty": 0}, "repetition_penalty is 0; give a number from 0.01 to 100"),
    ({"presence_penalty": 101}, "presence_penalty is 101; give a number from -100 to 100"),
    ({"frequency_penalty": -101}, "frequency_penalty is -101; give a number from -100 to 100"),
    ({"logit_bias": {-1: 2}}, "logit_bias has -1; give token ids, whole numbers from 0"),
    ({"logit_bias": {"4": 2}}, "logit_bias has '4'; give token ids"),
    ({"logit_bias": {4: 101}}, "logit_bias of 4 is 101; give a number from -100 to 100"),
    ({"logit_bias": {4: math.nan}}, "logit_bias of 4 is nan; give a number"),
    ({"logit_bias": 4}, "logit_bias is 4; give at most 10,000 token ids with a number each"),
    ({"logit_bias": dict.fromkeys(range(10_001), 1)}, "give at most 10,000 token ids"),
    ({"seed": -1}, "seed is -1; give a whole number from 0 to 9223372036854775807"),
    ({"seed": 2**63}, "give a whole number from 0 to 9223372036854775807"),
    ({"max_tokens": 0}, "max_tokens is 0; give a whole number from 1 to 2147483648"),
    ({"max_tokens": None}, "max_tokens is None; give a whole number from 1 to 2147483648"),
    ({"stop": "word"}, "stop is 'word'; give a list of at most 100 texts"),
    ({"stop": ["x"] * 101}, "give a list of at most 100 texts"),
    ({"stop": [""]}, "stop has ''; give texts of 1 to 1000 characters"),
    ({"stop": [3]}, "stop has 3; give texts of 1 to 1000 characters"),
    ({"heat": 1}, "'heat' is no decoding setting; there are temperature, top_k"),
]


@pytest.mark.parametrize(("values", "message"), REFUSED, ids=lambda value: str(value)[:40])
def test_refused_with_the_range(values, message) -> None:
    with pytest.raises(OpenbookError) as caught:
        Sampling.from_dict(values)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 250


def test_the_ends_of_the_ranges_are_allowed() -> None:
    Sampling(temperature=0, top_k=1, top_p=0, min_p=1, repetition_penalty=0.01, seed=0, max_tokens=1)
    Sampling(temperature=100, top_k=2**24, top_p=1, min_p=0, repetition_penalty=100, seed=2**63 - 1)
    assert Sampling.from_dict({"stop": ["a", "b"]}).stop == ("a", "b")


def test_biases_are_pairs_or_a_mapping_and_sorted() -> None:
    assert Sampling(logit_bias={9: 1, 3: -2.5}).logit_bias == ((3, -2.5), (9, 1.0))
    assert Sampling(logit_bias=((9, 1), (3, -2.5))) == Sampling(logit_bias={3: -2.5, 9: 1})
