"""How one number follows, as text."""

import pytest
from explained import printed

from openbook.errors import OpenbookError
from openbook.explanation.reader import TensorOffset
from openbook.explanation.run import explain
from openbook.explanation.terminal.derivation_page import parse_number
from strategies import DEFAULT, VOCABULARY, build


def test_one_number_prints_formula_operands_terms_and_error():
    page = printed(number="decoder.blocks.1.self_attention.scores[0, 3, 4, 2]")
    assert "scores[h,t,s] = scale · Σ_k query[t,h,k] · key[h,s,k]" in page
    assert "for b = 0, h = 3, t = 4, s = 2" in page
    assert "recorded: decoder.blocks.1.self_attention.rotated_query[0,4,3,0–7]" in page
    assert " Σ_k " in page and "error " in page
    assert max(map(len, page.splitlines())) <= 80


def test_a_long_sum_shows_its_largest_terms():
    assert "The 16 largest of 23; the sum is over all:" in printed(number="probabilities[0,5]")


@pytest.mark.parametrize("path", ["tokens", "choice", "decoder.final_norm.output", "decoder.position.angle"])
def test_any_number_prints(path):
    explained = explain(build(DEFAULT), list(range(10)))
    index = ",".join("0" for _ in explained.trace[path].value.shape)
    assert path in printed(number=f"{path}[{index}]")


def test_a_weight_says_its_byte():
    offsets = {"token_embedding.weight": TensorOffset(1000, 4, (VOCABULARY, 16))}
    page = printed(number="token_embedding.output[0,2,3]", offsets=offsets)
    assert "weight: token_embedding.weight[2,3], byte 1,140" in page


@pytest.mark.parametrize("text", ["", "decoder.embedded", "decoder.embedded[]", "a[1,]", "a[-1]", "a[1]b", "\x1b[0]"])
def test_a_number_of_another_form_is_refused(text):
    with pytest.raises(OpenbookError, match="give a path and an index") as error:
        parse_number(text)
    assert "\x1b" not in str(error.value)
