"""Both kinds on the same pairs: alike in size and tokens, measured, printed and drawn."""

import json
import math
from dataclasses import asdict, replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from test_run import interrupt_at
from training_examples import write_pairs

from openbook.errors import OpenbookError
from openbook.model_file.file import load
from openbook.training.comparison.compare import compare, matching_decoder
from openbook.training.comparison.display import comparison_table, notes, save_picture, verdict
from openbook.training.comparison.result import KINDS, ComparisonResult, peak_memory
from openbook.training.data.token_files import flat, offsets
from openbook.training.data.tokenization import TokenizedPairs, TokenSequences
from openbook.training.data.translation_task import PairSequences, PairTemplate
from openbook.training.plan.measure import count_parameters
from openbook.training.recipe import build_architecture, make_recipe

CHOICES = {"steps": 3, "vocab_size": 400}


def side(ids):
    return TokenSequences(flat(ids), offsets(np.array([len(each) for each in ids])))


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compared")
    pairs, told = write_pairs(folder / "pairs.tsv"), []
    with patch("openbook.training.plan.measure.step_seconds", lambda *arguments: 1.0):
        results = compare([pairs], folder / "it", CHOICES, device="cpu", callbacks=lambda kind: told.append(kind) or ())
    return folder, results, told


def test_both_kinds_are_trained_alike_and_measured(compared):
    folder, results, told = compared
    assert told == [result.kind for result in results] == ["encoder-decoder", "decoder-only"]
    both, one = results
    assert "+" in both.layers and "+" not in one.layers
    assert both.width == one.width and one.parameters == pytest.approx(both.parameters, rel=0.15)
    assert both.steps == one.steps == 3
    for result in results:
        assert (
            result.tokens_per_second > 0
            and result.epochs > 0
            and result.latency > 0
            and result.sentences_per_second > 0
        )
        assert result.bits_per_byte > 0 and 0 <= result.bleu <= 100 and 0 <= result.chrf <= 100
        assert (
            result.nats_per_token == pytest.approx(math.log(result.perplexity)) and "tok:13a" in result.bleu_signature
        )
        assert result.megabytes is None or result.megabytes > 50
        assert len(result.curve) >= 1
        assert (folder / "it" / f"{result.kind}.openbook").exists()
    tokenizers = [(folder / "it" / f"{kind}.openbook.training" / "tokenizer.json").read_bytes() for kind in told]
    assert tokenizers[0] == tokenizers[1]
    saved = json.loads((folder / "it" / "comparison.json").read_text())
    assert saved == json.loads(json.dumps([asdict(result) for result in results]))


def test_both_kinds_are_validated_and_scored_on_the_same_pairs(compared):
    folder, (both, one), _ = compared
    assert both.pairs == one.pairs > 0 and both.curve_pairs == one.curve_pairs <= both.pairs
    recipes = [load(folder / "it" / f"{kind}.openbook")[0].training["recipe"] for kind in KINDS]
    assert recipes[1]["context"] == 2 * recipes[0]["context"]
    assert recipes[0]["validation_tokens"] == recipes[1]["validation_tokens"]


def test_pairs_that_one_kind_has_no_room_for_are_left_out_of_both(tmp_path):
    """A pair whose sides fit a context of 16 each, and one with a longer target: together they would fit 32."""
    short, long = side([[1] * 15, [1] * 3]), side([[2] * 15, [2] * 20])
    tokens = TokenizedPairs(short, long, np.array([15, 20]))
    encoder = PairSequences(tokens, PairTemplate((), (9,), (9,), (), 9), True, 16)
    decoder = PairSequences(tokens, PairTemplate((), (8,), (), (), 9), False, 32, side_tokens=16)
    assert encoder.fitting.tolist() == decoder.fitting.tolist() == [0]
    assert encoder.predicted_tokens == decoder.predicted_tokens == 16


def test_the_table_and_the_picture_show_both(compared, tmp_path):
    _, results, _ = compared
    console = Console(record=True, width=120)
    console.print(comparison_table(results))
    text = console.export_text()
    assert all(
        word in text for word in ("encoder-decoder", "decoder-only", "BLEU", "chrF", f"{results[1].parameters:,}")
    )
    assert "BLEU (13a)" in text and "held-out pairs" in text
    some = [replace(result, curve_pairs=2, note="BLEU counts characters") for result in results]
    said = f"The curves are of 2 of the {results[0].pairs:,} held-out pairs; the table is of all."
    assert notes(some) == ["BLEU counts characters", said]
    save_picture([replace(result, bleu=None) for result in results], tmp_path / "b.png")
    save_picture(results, tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as picture:
        picture.load()
        assert picture.size[0] > 600 and len(picture.convert("RGB").getcolors(10**6)) > 10


def test_an_earlier_comparison_is_not_replaced_unasked(compared):
    folder, _, _ = compared
    with pytest.raises(OpenbookError, match=r"holds a comparison; .*overwrite"):
        compare([folder / "pairs.tsv"], folder / "it", CHOICES, device="cpu")


@pytest.mark.parametrize("name", ["", ".", ".."])
def test_the_current_folder_is_no_output(tmp_path, monkeypatch, name):
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "pairs.tsv").write_text("a\tb\n")
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(OpenbookError, match="is, or holds, the current folder"):
        compare(["pairs.tsv"], Path(name), CHOICES, device="cpu")
    assert len(list(tmp_path.rglob("*"))) == 2


def test_a_refused_comparison_leaves_no_folder(tmp_path):
    (tmp_path / "pairs.tsv").write_text("")
    with pytest.raises(OpenbookError):
        compare([tmp_path / "pairs.tsv"], tmp_path / "it", CHOICES, device="cpu")
    assert [path.name for path in tmp_path.iterdir()] == ["pairs.tsv"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_an_interrupted_comparison_goes_on(tmp_path, overwrite):
    """Within the first kind's training, then within the second's; what was measured is not measured again."""
    pairs, folder, kinds = write_pairs(tmp_path / "pairs.tsv"), tmp_path / "it", []

    def interrupting(step, at):
        def callbacks(kind):
            kinds.append(kind)
            return [interrupt_at(step)] if kind == at else []

        return callbacks

    with patch("openbook.training.plan.measure.step_seconds", lambda *arguments: 1.0):
        for step, at in ((1, "encoder-decoder"), (2, "decoder-only")):
            with pytest.raises(KeyboardInterrupt):
                compare([pairs], folder, CHOICES, device="cpu", overwrite=overwrite, callbacks=interrupting(step, at))
        results = compare([pairs], folder, CHOICES, device="cpu", overwrite=overwrite, callbacks=interrupting(0, ""))
    assert kinds == ["encoder-decoder", "encoder-decoder", "decoder-only", "decoder-only"]
    assert [result.steps for result in results] == [3, 3]
    assert {path.name for path in folder.glob("*.json")} == {"comparison.json"}


@pytest.mark.parametrize(("encoder_layers", "layers", "width"), [(2, 1, 128), (3, 2, 192), (6, 4, 384), (1, 6, 64)])
def test_the_decoder_only_model_has_about_as_many_parameters(encoder_layers, layers, width):
    recipe = make_recipe({"encoder_layers": encoder_layers, "layers": layers, "width": width, "vocab_size": 4096})
    one = make_recipe(matching_decoder(recipe.as_dict()))
    wanted = count_parameters(build_architecture(recipe))
    assert one.encoder_layers == 0 and one.width == width
    assert count_parameters(build_architecture(one)) == pytest.approx(wanted, rel=0.15)


def test_by_steps_a_batch_counts_the_source_too(compared):
    """So that both kinds see as many pairs; by minutes each takes what its plan says."""
    _, (both, one), _ = compared
    assert one.epochs == pytest.approx(both.epochs, rel=0.25)
    recipe = make_recipe({"encoder_layers": 1, "layers": 1, "width": 64, "vocab_size": 400, "batch_tokens": 512})
    assert matching_decoder({**recipe.as_dict(), "steps": 3, "minutes": None})["batch_tokens"] == 1024
    assert "batch_tokens" not in matching_decoder({**recipe.as_dict(), "steps": None, "minutes": 1.0})


def test_peak_memory_sees_what_was_there_and_is_gone():
    with peak_memory(torch.device("cpu")) as small:
        pass
    with peak_memory(torch.device("cpu")) as large:
        torch.ones(60_000_000).sum()
    if small() is None:
        pytest.skip("this system does not say how much memory was used")
    assert large() - small() > 200


@pytest.mark.parametrize(
    ("bits", "steps", "said"),
    [
        ((2.0, 2.5), 500, "the encoder-decoder model is ahead: 2.000 bits per byte against 2.500."),
        ((2.5, 2.0), 500, "the decoder-only model is ahead: 2.000 bits per byte against 2.500."),
        ((2.0, 2.01), 500, "both do equally well: 2.000 bits per byte against 2.010."),
        ((2.0, 2.5), 20, "against 2.500. After so few steps that may change."),
    ],
)
def test_the_answer_in_a_sentence(bits, steps, said):
    common = dict.fromkeys(ComparisonResult.__dataclass_fields__, 1.0) | {"steps": steps}
    results = [
        ComparisonResult(**common | {"kind": kind, "bits_per_byte": each})
        for kind, each in zip(KINDS, bits, strict=True)
    ]
    assert verdict(results).endswith(said)
