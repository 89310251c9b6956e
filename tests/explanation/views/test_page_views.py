"""The page's other views: cache, prompt, lens, words, file, beams, the table."""

import math

import pytest
import torch
from paged import paged
from traced_examples import ARCHITECTURES

from openbook.errors import OpenbookError
from openbook.explanation.views.lens import lens_of_rows
from openbook.explanation.views.model_file_map import tensor_statistics
from strategies import DEFAULT, ENCODER_DECODERS, ORIGINAL

EVERYTHING = ARCHITECTURES | ENCODER_DECODERS


@pytest.mark.parametrize("name", EVERYTHING)
def test_the_cache_changes_nothing(name):
    page = paged(EVERYTHING[name], max_tokens=4)
    found = page.view("cache", {"step": "3"})
    if name == "dynamic rope_scaling":  # its angles depend on the length of the text
        assert found["greatest"] > 1e-3 and "depend on the length" in found["sentence"]
        return
    assert found["greatest"] < 1e-4 and found["logits"] < 1e-4
    assert len(found["differences"]) > 30
    assert (found["tokens_with"], found["tokens_without"]) == (1, 7)
    assert found["numbers_with"] < found["numbers_without"]


def test_a_wrong_cache_would_show():
    page = paged(DEFAULT)
    key, _ = page.run._engine._cache.layers[0].get()
    key[:, :, 1] += 0.5
    page.run._engine._traces.clear()
    assert page.view("cache", {"step": "2"})["greatest"] > 1e-3


def test_the_first_step_has_no_cache_to_prove():
    with pytest.raises(OpenbookError, match="reads the whole prompt"):
        paged(DEFAULT).view("cache", {"step": "0"})


@torch.no_grad()
def test_the_prompt_s_positions_have_the_loss_of_training():
    page = paged(DEFAULT)
    found, run = page.view("prompt", {}), page.run
    logits = run.model(torch.tensor([run.tokens[:-1]]))
    losses = torch.nn.functional.cross_entropy(logits[0], torch.tensor(run.tokens[1:]), reduction="none")
    came = [position["came"] for position in found["positions"]]
    assert [each["loss"] for each in came] == pytest.approx(losses.tolist(), rel=1e-4)
    assert [each["written"] for each in came] == [False, False, False, True, True, True]
    assert found["mean_loss"] == pytest.approx(losses[:3].mean().item(), rel=1e-4)
    assert found["perplexity"] == pytest.approx(math.exp(found["mean_loss"]))
    ranks = 1 + (logits[0] > logits[0].gather(-1, torch.tensor(run.tokens[1:])[:, None])).sum(-1)
    assert [each["rank"] for each in came] == ranks.tolist()


def test_the_lens_of_many_rows_is_that_of_each():
    page = paged(ORIGINAL)
    model, trace = page.run.model, page.run.trace(0)
    together = lens_of_rows(model, trace, range(4), answer=5)
    assert [len(row) for row in together] == [4, 4, 4]
    for row in range(4):
        alone = lens_of_rows(model, trace, range(row, row + 1), answer=5)
        for layer, (cell,) in enumerate(alone):
            same = together[layer][row]
            assert (cell.layer, cell.token_id, cell.answer_rank) == (same.layer, same.token_id, same.answer_rank)
            assert cell.probability == pytest.approx(same.probability, rel=1e-4)


def test_words_nearest_to_an_embedding_begin_with_its_own():
    page = paged(DEFAULT)
    found = page.view("words", {"path": "token_embedding.output", "row": "2"})
    assert found["words"][0]["id"] == page.run.tokens[2]
    assert found["words"][0]["cosine"] == pytest.approx(1)
    after = "decoder.blocks.1.feed_forward_residual.residual"
    moved = page.view("words", {"path": after, "row": "2", "before": "token_embedding.output"})
    gained = [each["to"] - each["from"] for each in moved["nearer"]]
    assert gained == sorted(gained, reverse=True)
    with pytest.raises(OpenbookError, match="is no vector"):
        page.view("words", {"path": "to_logits.logits", "row": "0"})


def test_the_file_lists_every_tensor_and_what_reads_it():
    page = paged(ORIGINAL)
    tensors = {each["name"]: each for each in page.view("file", {})["tensors"]}
    assert set(tensors) == {name for name, _ in page.run.model.named_parameters()}
    readers = ("source_embedding.output", "token_embedding.output", "to_logits.logits")
    assert tensors["token_embedding.weight"]["used_by"] == readers
    one = page.view("tensor", {"name": "decoder.blocks.0.cross_attention.query.weight"})
    weight = page.run.model.get_parameter(one["name"])
    assert (one["stack"], one["layer"]) == ("decoder", 0)
    assert one["std"] == pytest.approx(weight.std(correction=0).item(), rel=1e-4)
    assert sum(one["histogram"]["counts"]) == weight.numel()


def test_statistics_of_numbers_that_are_equal_or_not_finite():
    found = tensor_statistics(torch.tensor([2.0, 2.0, torch.nan, torch.inf]))
    assert (found["min"], found["max"], found["not_finite"]) == (2.0, 2.0, 2)
    assert found["histogram"]["counts"] == [2]


def test_beams_are_a_tree_with_words():
    found = paged(ORIGINAL).view("beams", {"beam_size": "2", "max_tokens": "3"})
    assert len(found["best"]) == 2
    for node in found["nodes"]:
        assert node["label"] and (
            node["parent"] is None or found["nodes"][node["parent"]]["depth"] == node["depth"] - 1
        )


@pytest.mark.parametrize("spec", EVERYTHING.values(), ids=EVERYTHING)
def test_the_table_leads_from_tokens_to_logits_with_every_tensor_once(spec):
    page = paged(spec)
    rows = page.view("summary", {"step": "0"})["rows"]
    assert rows[-1]["part"] == "logits" and rows[0]["part"].endswith("embedding")
    named = [tensor["name"] for row in rows for tensor in row["tensors"]]
    tied = {"token_embedding.weight"}
    assert set(named) == {name for name, _ in page.run.model.named_parameters()}
    assert all(named.count(name) == 1 for name in named if name not in tied)
    for row in rows[1:]:
        assert row["inside"] is None or row["inside_numbers"]


@pytest.mark.parametrize(
    ("view", "parameters"),
    [
        ("nothing", {}),
        ("lens", {"step": "7"}),
        ("lens", {"step": "x"}),
        ("contributions", {"row": "9"}),
        ("contributions", {"token": "99"}),
        ("cache", {"step": "5"}),
        ("tensor", {"name": "none"}),
        ("beams", {"beam_size": "0"}),
    ],
)
def test_wrong_parameters_are_one_line(view, parameters):
    with pytest.raises(OpenbookError) as refused:
        paged(DEFAULT).view(view, parameters)
    assert "\n" not in str(refused.value)
