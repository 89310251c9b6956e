"""Formula trees, and the same formula as text and as MathML."""

import math
import re
from xml.etree import ElementTree

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from traced_examples import ARCHITECTURES, plain

from openbook.explanation.derivations import derive
from openbook.explanation.expression import (
    Node,
    absolute,
    constant,
    equal,
    exp,
    index_of_rank,
    literal,
    maximum,
    minimum,
    named,
    piecewise,
    running,
    shorthand,
    sqrt,
    square,
    sum_over,
    where,
    with_numbers,
)
from openbook.explanation.expression_mathml import NAMESPACE, format_mathml
from openbook.explanation.expression_text import format_formula, format_number
from strategies import ENCODER_DECODERS

X, Y = constant(3.0, "x"), constant(-0.5, "y")


def stripped(markup):
    """MathML without namespace and display, which all of it has, and without the invisible sign of a function call."""
    return re.sub(r"^<math [^>]*>|</math>$|<mo>\u2061</mo>", "", markup)


# The tree.


def test_arithmetic_builds_a_tree_of_operators_operands_names_and_values():
    expression = X * (Y + 2)
    assert expression.value.item() == 4.5
    assert expression.node == Node(
        "·",
        (
            Node("name", name="x", value=3.0),
            Node("+", (Node("name", name="y", value=-0.5), Node("number", value=2.0)), value=1.5),
        ),
        value=4.5,
    )


def test_a_name_has_its_index_as_operands():
    weight = named(torch.tensor([[7.0]]), "weight", [constant(2, "token").node, constant(1, "d").node])
    assert [each.name for each in weight.node.operands] == ["token", "d"]
    assert format_formula(weight.node) == "weight[token,d]"


def test_numbers_take_the_place_of_names_and_sums():
    k = running("k", 3)
    expression = X * sum_over("k", k * k) - where(X >= 4, Y, 9.0)
    assert format_formula(expression.node) == "x · Σ_k k · k − (y if x ≥ 4, else 9)"
    assert format_formula(with_numbers(expression.node)) == "3 · 5 − 9"


# Text.


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (-3.0, "−3"),
        (1 / 3, "0.333333"),
        (-1.25e-7, "−1.25e−7"),
        (math.inf, "∞"),
        (-math.inf, "−∞"),
        (math.nan, "NaN"),
    ],
)
def test_numbers_as_formulas_show_them(value, text):
    assert format_number(value) == text


# MathML.


@pytest.mark.parametrize(
    ("expression", "markup"),
    [
        (X / Y, "<mfrac><mi>x</mi><mi>y</mi></mfrac>"),
        (sqrt(X), "<msqrt><mi>x</mi></msqrt>"),
        (square(X), "<msup><mi>x</mi><mn>2</mn></msup>"),
        (X ** (-2), "<msup><mi>x</mi><mrow><mo>−</mo><mn>2</mn></mrow></msup>"),
        (square(X / Y), "<msup><mrow><mo>(</mo><mfrac><mi>x</mi><mi>y</mi></mfrac><mo>)</mo></mrow><mn>2</mn></msup>"),
        (-X, "<mrow><mo>−</mo><mi>x</mi></mrow>"),
        (exp(X), "<mrow><mi>exp</mi><mrow><mo>(</mo><mi>x</mi><mo>)</mo></mrow></mrow>"),
        (absolute(X), "<mrow><mo>|</mo><mi>x</mi><mo>|</mo></mrow>"),
        (X // 2, "<mrow><mo>⌊</mo><mfrac><mi>x</mi><mn>2</mn></mfrac><mo>⌋</mo></mrow>"),
        (X <= Y, "<mrow><mi>x</mi><mo>≤</mo><mi>y</mi></mrow>"),
        (X < Y, "<mrow><mi>x</mi><mo>&lt;</mo><mi>y</mi></mrow>"),
        (shorthand("√2", sqrt(literal(2))), "<msqrt><mn>2</mn></msqrt>"),
        (literal(-1.5e-7), "<mrow><mrow><mo>−</mo><mn>1.5</mn></mrow><mo>·</mo><msup><mn>10</mn>"
         "<mrow><mo>−</mo><mn>7</mn></mrow></msup></mrow>"),
        (sum_over("k", running("k", 3) + X), "<mrow><munder><mo>∑</mo><mi>k</mi></munder>"
         "<mrow><mo>(</mo><mrow><mi>k</mi><mo>+</mo><mi>x</mi></mrow><mo>)</mo></mrow></mrow>"),
        (where(equal(X, 1), Y, 0.0), "<mrow><mo>{</mo><mtable>"
         "<mtr><mtd><mi>y</mi></mtd><mtd><mtext>if\u00a0</mtext><mrow><mi>x</mi><mo>=</mo><mn>1</mn></mrow></mtd></mtr>"
         "<mtr><mtd><mn>0</mn></mtd><mtd><mtext>otherwise</mtext></mtd></mtr></mtable></mrow>"),
        (named(X.value, "scores", [running("h", 1).node, (X // 2).node]), "<msub><mi>scores</mi>"
         "<mrow><mi>h</mi><mo>,</mo><mrow><mo>⌊</mo><mfrac><mi>x</mi><mn>2</mn></mfrac><mo>⌋</mo></mrow></mrow></msub>"),
    ],
)  # fmt: skip
def test_mathml_of_each_construct(expression, markup):
    assert stripped(format_mathml(expression.node)) == markup


def test_the_sides_of_an_equation_stand_in_one_element():
    markup = format_mathml(constant(1, "a").node, X.node, with_numbers(X.node))
    assert stripped(markup) == "<mi>a</mi><mo>=</mo><mi>x</mi><mo>=</mo><mn>3</mn>"
    assert markup.startswith(f'<math xmlns="{NAMESPACE}" display="block">')


def test_names_are_text_and_never_markup():
    markup = format_mathml(constant(1, '<script>"&').node, Node("words", name="</mtext><img>"))
    assert "<script" not in markup and "<img" not in markup
    assert [each.text for each in ElementTree.fromstring(markup)] == ['<script>"&', "=", "</mtext><img>"]


# Both, of every formula there is.

CHILDREN = {"mfrac": 2, "msup": 2, "msub": 2, "munder": 2, "msqrt": 1, "mtr": 2}
LEAVES = {"mi", "mn", "mo", "mtext"}


@pytest.mark.parametrize("spec", (ARCHITECTURES | ENCODER_DECODERS).values(), ids=ARCHITECTURES | ENCODER_DECODERS)
def test_every_formula_is_well_formed_mathml_with_the_same_names_as_the_text(spec):
    model, recorded = plain(spec)
    for path, record in recorded.items():
        derivation = derive(model, recorded, path, (0,) * record.value.dim())
        assert format_formula(*derivation.equation) == derivation.formula
        assert format_formula(with_numbers(derivation.equation[1])) == derivation.with_numbers
        for sides in (derivation.equation, (with_numbers(derivation.equation[1]),)):
            elements = list(ElementTree.fromstring(format_mathml(*sides)).iter())
            for element in elements:
                tag = element.tag.removeprefix(f"{{{NAMESPACE}}}")
                assert (tag in LEAVES) == (element.text is not None)
                assert len(element) == CHILDREN.get(tag, len(element))
            names = {each.text for each in elements if each.tag.endswith("}mi")}
            assert not {name for name in names if name not in format_formula(*sides)}


# Parentheses: a formula that is read back has the value that was computed.


def numbers():
    return st.sampled_from([0.5, 2.0, -3.0, 7.0]).map(literal) | st.sampled_from([1.5, -2.5, 4.0]).map(
        lambda value: constant(value, "x")
    )


def grow(inner):
    pairs = st.tuples(inner, inner)
    return st.one_of(
        pairs.map(lambda both: both[0] + both[1]),
        pairs.map(lambda both: both[0] - both[1]),
        pairs.map(lambda both: both[0] * both[1]),
        pairs.map(lambda both: both[0] / (square(both[1]) + 1)),
        pairs.map(lambda both: maximum(both[0], both[1])),
        pairs.map(lambda both: minimum(both[0], both[1])),
        inner.map(lambda one: one**3),
        inner.map(square),
        inner.map(absolute),
        inner.map(lambda one: -one),
        inner.map(lambda one: sum_over("k", one + running("k", 3))),
    )


def read_text(text):
    python = text.replace("−", "-").replace("·", "*").replace("^", "**").replace("²", "**2")
    python = re.sub(r"\|([^|]*)\|", r"abs(\1)", python)
    return eval(python)


def read_mathml(element):
    """A formula in Python from MathML."""
    tag, inside = element.tag.removeprefix(f"{{{NAMESPACE}}}"), [read_mathml(each) for each in element]
    match tag:
        case "mfrac":
            return f"(({inside[0]})/({inside[1]}))"
        case "msup":
            return f"{inside[0]}**({inside[1]})"
        case "mo":
            return {"−": "-", "·": "*", "\u2061": ""}.get(element.text, element.text)
    text = "".join(inside) if inside else element.text
    return f"abs({text[1:-1]})" if text.startswith("|") else text


@given(st.recursive(numbers(), grow, max_leaves=6))
def test_formulas_with_numbers_read_back_as_their_value(expression):
    node, value = with_numbers(expression.node), expression.value.item()
    if any(float(f"{each:.6g}") != each for each in values(node)):
        return  # rounded where it is written
    assert eval(read_mathml(ElementTree.fromstring(format_mathml(node)))) == pytest.approx(value)
    if format_formula(node).count("|") <= 2:
        assert read_text(format_formula(node)) == pytest.approx(value)


def values(node):
    if node.operator == "number":
        yield node.value
    for each in node.operands:
        yield from values(each)


# Cases.


def test_each_row_takes_its_own_case():
    t = named(torch.tensor([[0.0], [1.0], [2.0]]), "t")
    expression = piecewise(t < 1, lambda t: t + 10, lambda t: t * 100, [t])
    assert expression.value.flatten().tolist() == [10, 100, 200]
    assert format_formula(expression.node) == "t + 10 if t < 1, else t · 100"
    assert format_formula(piecewise(t >= 0, lambda t: t + 10, lambda t: t, [t]).node) == "t + 10"


def test_the_index_of_a_rank():
    values = named(torch.tensor([[0.1, 0.7, 0.2]]), "p", [running("e", 3).node])
    second = index_of_rank("e", values, literal(1))
    assert second.value.item() == 2
    assert format_formula(second.node) == "the e whose p[e] has rank 1"
