"""What is chosen from a traced run, as data."""

import json
from dataclasses import replace

import pytest
import torch
from explained import Words, summed, view
from traced_examples import LAYER_NORM, changed

from openbook.explanation.run import explain
from openbook.explanation.views.attention_rows import attention_rows
from openbook.explanation.views.summarize import Selection, summarize
from openbook.explanation.views.summary import to_json
from openbook.transformer.mask import positions_of
from strategies import DEFAULT, ESSENTIAL, ORIGINAL, RELATIVE, build, with_windows


def test_numbers_are_those_of_the_chosen_head_and_token():
    explained, summary = summed(tokens=range(10), layer=1, head=3, token=4)
    shown = {tensor.path.removeprefix("decoder.blocks.1."): tensor for tensor in summary.detail}

    def recorded(name, *index):
        return tuple(explained.trace[f"decoder.blocks.1.{name}"].value[index].flatten()[:6].tolist())

    assert shown["self_attention.query"].numbers == recorded("self_attention.query", 0, 4, 3)
    assert shown["self_attention.key"].numbers == recorded("self_attention.key", 0, 4, 1)  # two heads share a key
    assert shown["self_attention.keys"].numbers == recorded("self_attention.keys", 0, 3, 4)
    assert shown["self_attention.head_context"].numbers == recorded("self_attention.head_context", 0, 3, 4)
    assert shown["feed_forward.hidden"].numbers == recorded("feed_forward.hidden", 0, 4)
    assert (summary.neurons[0].values["hidden"], summary.neuron_count) == (
        max(explained.trace["decoder.blocks.1.feed_forward.hidden"].value[0, 4].tolist(), key=abs),
        32,
    )


def test_the_first_layer_and_head_and_the_last_token_are_the_default():
    _, summary = summed()
    assert (summary.layer, summary.head, summary.token) == (0, 0, 5)
    assert len(summary.layers) == 2
    assert list(summary.layers[0].added_length) == ["self-attention", "feed-forward"]


def test_equal_tokens_stay_apart():
    _, summary = summed(tokens=[3, 3, 3])
    rows = summary.attention["decoder.blocks.0.self_attention"]
    assert [row.index for row in rows] == [0, 1, 2]
    assert len({row.values["scores"] for row in rows}) == 3
    assert [token.index for token in summary.tokens] == [0, 1, 2]


def test_the_next_token_comes_with_its_runners_up():
    explained, summary = summed()
    probabilities = [candidate.probability for candidate in summary.candidates]
    assert probabilities == sorted(probabilities, reverse=True)
    assert summary.candidates[0].id == explained.choice.item()
    assert len(summary.candidates) == 10


def test_the_candidates_are_those_after_the_chosen_token():
    explained, summary = summed(tokens=range(10), token=3)
    logits = explained.model(explained.tokens)[0, 3]
    probabilities = logits.softmax(-1)
    assert [each.id for each in summary.candidates] == logits.topk(10).indices.tolist()
    for each in summary.candidates:
        assert each.logit == pytest.approx(logits[each.id].item(), abs=1e-5)
        assert each.probability == pytest.approx(probabilities[each.id].item(), abs=1e-6)
    assert summary.candidates[0].id == summary.layer_predictions[-1].token_id
    shown = next(tensor for tensor in summary.after if tensor.path == "to_logits.logits")
    assert shown.numbers == pytest.approx(logits[:6].tolist(), abs=1e-5)


def test_what_may_not_be_seen_is_told_apart():
    real = torch.tensor([[False, False, True, True, True, True, True, True]])
    documents = torch.tensor([[0, 0, 0, 1, 1, 1, 1, 1]])
    _, summary = summed(with_windows(DEFAULT, 3), range(8), positions_of(real), documents, token=6)
    reasons = [row.masked_by for row in summary.attention["decoder.blocks.0.self_attention"]]
    window = "beyond the window of 3"
    assert reasons == ["padding", "padding", window, window, None, None, None, "later"]
    _, summary = summed(DEFAULT, range(8), None, documents, token=6)
    reasons = [row.masked_by for row in summary.attention["decoder.blocks.0.self_attention"]]
    assert reasons == ["other document"] * 3 + [None] * 4 + ["later"]


@pytest.mark.parametrize("spec", [DEFAULT, with_windows(DEFAULT, 3), ESSENTIAL], ids=["causal", "window", "essential"])
@pytest.mark.parametrize("padding", [0, 2])
def test_the_reasons_are_the_recorded_mask(spec, padding):
    real = torch.arange(8)[None] >= padding
    for token in range(8):
        explained, summary = summed(spec, range(8), positions_of(real), token=token)
        allowed = explained.trace["decoder.blocks.0.self_attention.mask"].value[0, 0, token].tolist()
        rows = summary.attention["decoder.blocks.0.self_attention"]
        assert [row.masked_by is None for row in rows] == allowed


def test_cross_attention_shows_the_source_as_the_chosen_step_and_head_see_it():
    model = build(ORIGINAL)
    explained = explain(model, list(range(5)), source=list(range(1, 9)))
    summary = summarize(explained, Words(), Selection(layer=1, head=3, token=2))
    path = "decoder.blocks.1.cross_attention"
    rows = summary.attention[path]
    assert [row.values["weights"] for row in rows] == explained.trace[f"{path}.weights"].value[0, 3, 2].tolist()
    assert [row.masked_by for row in rows] == [None] * 8
    assert [token.id for token in summary.attended_tokens(path)] == list(range(1, 9))
    most = max(rows, key=lambda row: row.values["weights"])
    assert summary.layers[1].attends_to["cross-attention"].index == most.index
    assert list(summary.layers[0].added_length) == ["self-attention", "cross-attention", "feed-forward"]
    key = next(tensor for tensor in summary.detail if tensor.path == f"{path}.key")
    assert key.numbers == tuple(explained.trace[f"{path}.key"].value[0, most.index, 3].tolist())


def test_the_encoder_follows_a_token_of_the_source():
    explained = explain(build(RELATIVE), list(range(5)), source=list(range(1, 9)))
    summary = summarize(explained, Words(), Selection(encoder=True, layer=1, head=2, token=6))
    assert [token.id for token in summary.tokens] == list(range(1, 9))
    rows = summary.attention["encoder.blocks.1.self_attention"]
    assert [row.masked_by for row in rows] == [None] * 8
    assert "biased_scores" in rows[0].values
    assert {tensor.path.partition(".")[0] for tensor in summary.before} == {"source_embedding", "encoder"}
    assert [tensor.path for tensor in summary.after] == [
        "encoder.final_norm.mean_square",
        "encoder.final_norm.output",
    ]
    assert not summary.candidates


def test_reasons_in_an_encoder_and_across_are_the_recorded_masks():
    real = torch.tensor([[True] * 5 + [False] * 2])
    (block, _) = ORIGINAL.encoder.blocks
    near = replace(block, attention=replace(block.attention, window=3))
    model = build(replace(ORIGINAL, encoder=replace(ORIGINAL.encoder, blocks=(near,))))
    explained = explain(model, torch.arange(4)[None], source=torch.arange(7)[None], source_positions=positions_of(real))
    for path, rows in (("encoder.blocks.0.self_attention", 7), ("decoder.blocks.1.cross_attention", 4)):
        for token in range(rows):
            seen = [row.masked_by is None for row in attention_rows(explained, path, 0, token)]
            assert seen == explained.trace[f"{path}.mask"].value[0, 0, token].tolist()


@pytest.mark.parametrize("spec", [DEFAULT, ESSENTIAL, changed(outer=LAYER_NORM)], ids=["default", "essential", "outer"])
def test_the_summary_is_json(spec):
    data = to_json(view(spec, range(6), token=2))
    data = json.loads(json.dumps(data, allow_nan=False))
    assert data["tokens"][2] == {"index": 2, "position": 2, "id": 2, "text": '"[bold]"', "template": False}
    assert {"path", "shape", "formula", "numbers", "origins"} <= set(data["detail"][0])
    masked = data["attention"]["decoder.blocks.0.self_attention"][3]
    assert (masked["masked_by"], masked["values"]["masked_scores"]) == ("later", 0.0 if spec is ESSENTIAL else None)


def test_a_derivation_is_json():
    number = "decoder.blocks.0.self_attention.weights[0,0,2,1]"
    data = json.loads(json.dumps(to_json(view(DEFAULT, [1, 2, 3], number=number)), allow_nan=False))
    assert data["operands"][0]["numbers"][0]["index"] == [0, 0, 2, 1]
    assert data["error"] < 1e-6
