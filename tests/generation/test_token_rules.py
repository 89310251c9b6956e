"""No rows of tokens twice: against looking at each place."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from naive import default_model

from openbook.generation.engines.torch_engine import TorchEngine
from openbook.generation.generate import generate
from openbook.generation.padding import left_padded
from openbook.generation.settings import Sampling
from openbook.generation.token_rules import TokenRules, repeated_ngrams

VOCABULARY = 4


def slowly(tokens, count):
    """Every token that makes the newest `count` tokens a row that is there already."""
    rows = {tuple(tokens[place : place + count]) for place in range(len(tokens) - count + 1)}
    return [(*tokens[len(tokens) - count + 1 :], token) in rows for token in range(VOCABULARY)]


@given(st.lists(st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=12), min_size=1), st.integers(1, 5))
def test_what_would_repeat(rows, count):
    found = repeated_ngrams(left_padded(rows), count, VOCABULARY)
    assert found.tolist() == [slowly(tokens, count) for tokens in rows]
    beams = np.array([rows[0]] * 2)[None]
    assert repeated_ngrams(beams, count, VOCABULARY).tolist() == [[slowly(rows[0], count)] * 2]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_sampled_answers_have_no_row_twice(count):
    how = Sampling(temperature=5, min_p=0, max_tokens=12, seed=3)
    prompts = [[1, 2, 3, 4], [5]]
    for chosen in generate(TorchEngine(default_model()), prompts, how, TokenRules(no_repeat_ngram_size=count)):
        prompts[chosen.row].append(chosen.token_id)
    for tokens in prompts:
        rows = [tuple(tokens[place : place + count]) for place in range(len(tokens) - count + 1)]
        assert len(set(rows)) == len(rows)
