"""`tiny`: a few sentences or pairs learned by heart, by a model that can be followed by hand."""

import pytest
import torch

import openbook
from openbook.errors import OpenbookError

FEW = {"steps": 120, "device": "cpu"}


@pytest.fixture
def lines(tmp_path):
    path = tmp_path / "lines.txt"
    path.write_text("what is openbook awesome\nopenbook is what awesome\n")
    return path


def test_lines_are_learned_by_heart_with_small_numbers(tmp_path, lines):
    model = openbook.train(lines, tmp_path / "it.openbook", tiny=True, **FEW)
    recipe = model.metadata.training["recipe"]
    assert (recipe["layers"], recipe["width"], recipe["dropout"]) == (1, 4, 0)
    assert model.tokenizer.vocab_size == 6  # four words, each one token wherever it stands, and two special ones
    for prompt in ("what is openbook", "openbook is what"):
        assert model.ask(prompt, temperature=0) == " awesome"
        trace = model.trace(prompt).trace
        scores = trace["decoder.blocks.0.self_attention.scores"].value
        assert scores[scores > torch.finfo(scores.dtype).min].abs().max() < 5


def test_one_sentence_is_enough(tmp_path):
    (tmp_path / "one.txt").write_text("The cat sat.")
    model = openbook.train(tmp_path / "one.txt", tmp_path / "it.openbook", tiny=True, width=2, **FEW)
    assert model.ask("The", temperature=0) == " cat sat."


@pytest.mark.parametrize("encoder_layers", [1, 0])
def test_pairs_are_learned_by_heart(tmp_path, encoder_layers):
    (tmp_path / "two.tsv").write_text("good morning\tguten Morgen\ngood night\tgute Nacht\n")
    model = openbook.train(
        pairs=tmp_path / "two.tsv", output=tmp_path / "it.openbook", tiny=True, encoder_layers=encoder_layers, **FEW
    )
    assert [each.text for each in model.translate(["good night", "good morning"])] == ["gute Nacht", "guten Morgen"]


def test_choices_are_kept(tmp_path, lines):
    choices = {"steps": 2, "width": 6, "heads": 2, "position": "rotary", "tokenizer": "characters", "norm": "layer"}
    model = openbook.train(lines, tmp_path / "it.openbook", tiny=True, device="cpu", **choices)
    recipe = model.metadata.training["recipe"]
    assert {name: recipe[name] for name in choices} == choices
    assert recipe["context"] == 32  # the longest line has 24 characters


def test_lines_that_are_held_out_are_scored(tmp_path, lines):
    (tmp_path / "other.txt").write_text("awesome openbook")
    model = openbook.train(
        lines, tmp_path / "it.openbook", tiny=True, validation=tmp_path / "other.txt", device="cpu", steps=2
    )
    assert model.metadata.training["bits_per_byte"] > 0.1


@pytest.mark.parametrize("pairs", [False, True])
def test_a_book_is_refused(tmp_path, pairs):
    path = tmp_path / "long.txt"
    path.write_text("".join(f"a word {number}\tand another {number}\n" for number in range(2000)))
    with pytest.raises(OpenbookError, match="is for a few sentences, up to 20 KB, and these have"):
        openbook.train(
            None if pairs else path, tmp_path / "it.openbook", pairs=path if pairs else None, tiny=True, device="cpu"
        )


def test_a_base_model_is_refused(tmp_path, lines):
    with pytest.raises(OpenbookError, match="makes a new model"):
        openbook.train(lines, tmp_path / "it.openbook", tiny=True, base_model=tmp_path / "base.openbook")


def test_a_context_that_is_too_short_is_refused(tmp_path, lines):
    with pytest.raises(OpenbookError, match="the longest line has 4 tokens; take a longer one"):
        openbook.train(lines, tmp_path / "it.openbook", tiny=True, context=2, device="cpu")
