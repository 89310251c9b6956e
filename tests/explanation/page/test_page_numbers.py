"""The page's numbers are Python's: slices, derivations, formulas."""

import json
import struct

import pytest
import torch
from paged import check_page, paged, slices_of
from safetensors.torch import save_file
from traced_examples import ARCHITECTURES, plain

from openbook.errors import OpenbookError
from openbook.explanation.derivations import general_formula
from openbook.explanation.page.derivation_data import parse_terms
from openbook.explanation.page.formula_table import FormulaTable
from openbook.explanation.page.quantities import quantities
from openbook.explanation.reader import TensorOffset
from strategies import DEFAULT, ENCODER_DECODERS, ORIGINAL

EVERYTHING = ARCHITECTURES | ENCODER_DECODERS
SCORES = "decoder.blocks.1.self_attention.scores"


@pytest.mark.parametrize("spec", EVERYTHING.values(), ids=EVERYTHING)
def test_every_quantity_of_every_step_is_python_s(spec):
    assert check_page(paged(spec, max_tokens=2)) > 80


@pytest.mark.parametrize("spec", EVERYTHING.values(), ids=EVERYTHING)
def test_layers_share_formulas_and_each_is_its_own(spec):
    model, recorded = plain(spec)
    shared, table = quantities(model, recorded), FormulaTable()
    assert len(shared["formulas"]) < len(shared["quantities"])
    for entry in shared["quantities"]:
        number, operands = table.add(general_formula(model, recorded, entry["path"]))
        assert shared["formulas"][entry["formula"]] == table.formulas[number]
        assert [each["source"] for each in entry["operands"]] == [each.source for each in operands]


def test_a_formula_shows_both_cases():
    step = paged(DEFAULT).step(0)
    entry = next(each for each in step["quantities"] if each["name"] == "rotated_query")
    formula = step["formulas"][entry["formula"]]
    assert " if k < 4, else " in formula["text"] and formula["tree"]["op"] == "if"
    assert [(each["name"], each["kind"]) for each in entry["operands"]] == [
        ("query", "recorded"),
        ("cosine", "recorded"),
        ("sine", "recorded"),
    ]


def test_a_slice_is_the_part_that_was_asked_for():
    page = paged(DEFAULT)
    value = page.run.trace(0)[SCORES].value.numpy()
    wanted = [[0, None, 3, None], [0, 1, [1, 3], [0, 2]], None]
    found = slices_of(page, *({"step": 0, "path": SCORES, "index": index} for index in wanted))
    assert (found["0"] == value[0, :, 3]).all()
    assert (found["1"] == value[0, 1, 1:3, 0:2]).all()
    assert (found["2"] == value).all()


def test_weights_come_whole_in_parts_and_as_blocks():
    page, name = paged(DEFAULT), "decoder.blocks.0.feed_forward.up.weight"
    weight = page.run.model.get_parameter(name).detach()
    found = slices_of(page, {"weight": name}, {"weight": name, "index": [2, None]}, {"weight": name, "pool": [5, 3]})
    assert (found["0"] == weight.numpy()).all() and (found["1"] == weight[2].numpy()).all()
    assert found["2.mean"].shape == (5, 3)  # 32 rows by seven, 16 columns by six
    assert found["2.mean"][0, 0] == pytest.approx(weight[:7, :6].mean().item(), abs=1e-6)
    assert found["2.min"][4, 2] == weight[28:, 12:].min().item()
    assert found["2.max"][4, 2] == weight[28:, 12:].max().item()


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"step": 9, "path": SCORES}, "no step 9"),
        ({"step": 0, "path": "decoder.nothing"}, "nothing is recorded"),
        ({"step": 0, "path": SCORES, "index": [0, 0]}, "one entry for each of the 4 axes"),
        ({"step": 0, "path": SCORES, "index": [0, 99, 0, 0]}, "99 is not from 0 to 3"),
        ({"step": 0, "path": SCORES, "index": [0, [2, 1], 0, 0]}, "range"),
        ({"step": 0, "path": SCORES, "index": [0, True, 0, 0]}, "whole number"),
        ({"weight": "none.such"}, "no tensor"),
        ({"weight": "token_embedding.weight", "pool": [0, 3]}, "pool"),
    ],
)
def test_a_wrong_slice_is_refused_in_one_line(wanted, said):
    with pytest.raises(OpenbookError, match=said) as refused:
        slices_of(paged(DEFAULT), wanted)
    assert "\n" not in str(refused.value)


def test_long_sums_show_the_largest_terms_first_and_all_on_demand():
    page = paged(DEFAULT)
    path = "decoder.blocks.0.feed_forward.output"
    some, every = page.derivation(0, path, [0, 2, 3], terms=5), page.derivation(0, path, [0, 2, 3], terms=None)
    (few,), (all_terms,) = some["sums"], every["sums"]
    sizes = [abs(term["value"]) for term in all_terms["terms"]]
    assert sizes == sorted(sizes, reverse=True) and len(sizes) == 32
    assert few["terms"] == all_terms["terms"][:5] and few["left_out"] == 27
    assert few["rest"] + sum(term["value"] for term in few["terms"]) == pytest.approx(few["total"])
    for operand in some["operands"]:
        assert [number["at"] for number in operand["numbers"]] == [term["at"] for term in few["terms"]]


@pytest.mark.parametrize("text", ["all", "12"])
def test_how_many_terms(text):
    assert parse_terms(text) == (None if text == "all" else 12)


@pytest.mark.parametrize("text", ["", "-1", "x", "٣"])
def test_a_wrong_number_of_terms_is_refused(text):
    with pytest.raises(OpenbookError, match="terms"):
        parse_terms(text)


@pytest.mark.parametrize(("spec", "part"), [(DEFAULT, "self"), (ORIGINAL, "self"), (ORIGINAL, "cross")])
def test_what_a_cache_kept_leads_to_the_step_that_computed_it(spec, part):
    page = paged(spec, max_tokens=4)
    path = f"decoder.blocks.0.{part}_attention.keys"
    for s in range(page.run.trace(3)[path].value.shape[2] - (part == "self")):
        given = page.derivation(3, path, [0, 1, s, 2])["operands"][-1]
        assert given["kind"] == "cache" and given["source"] == path
        assert given["step"] == (0 if part == "cross" else page.run.step_of(s))
        (number,) = given["numbers"]
        assert page.derivation(given["step"], path, number["index"])["recorded"] == number["value"]


def test_weights_name_their_bytes(tmp_path):
    page = paged(DEFAULT)
    file = tmp_path / "model.safetensors"
    save_file(page.run.model.state_dict(), file)
    content = file.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    page.model.__dict__["offsets"] = {
        name: TensorOffset(start + each["data_offsets"][0], 4, tuple(each["shape"])) for name, each in header.items()
    }
    found = page.derivation(0, "decoder.blocks.0.self_attention.query", [0, 1, 2, 3])
    weights = next(each for each in found["operands"] if each["kind"] == "weight")
    assert len(weights["numbers"]) == 16
    for number in weights["numbers"]:
        assert struct.unpack_from("<f", content, number["byte"])[0] == number["value"]


def test_numbers_that_are_not_finite_are_kept():
    page = paged(DEFAULT)
    masked = slices_of(page, {"step": 0, "path": "decoder.blocks.0.self_attention.masked_scores"})["0"]
    assert masked[0, 0, 0, 1] == -torch.inf
    assert page.derivation(0, "decoder.blocks.0.self_attention.masked_scores", [0, 0, 0, 1])["recorded"] == -torch.inf
