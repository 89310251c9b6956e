"""Contributions: the parts of a logit add up to it, and a head's is what the logit loses without the head."""

from dataclasses import replace

import pytest
import torch
from paged import paged
from traced_examples import ARCHITECTURES, plain

from openbook.explanation.run import explain
from openbook.explanation.views.contributions import by_layer, contributions
from openbook.transformer.architecture import NO_NORM
from strategies import ENCODER_DECODERS, build

EVERYTHING = ARCHITECTURES | ENCODER_DECODERS


@pytest.mark.parametrize("spec", EVERYTHING.values(), ids=EVERYTHING)
def test_they_add_up_to_the_logit_of_every_row(spec):
    model, recorded = plain(spec)
    for row, token in ((0, None), (3, 7), (6, None)):
        found = contributions(model, recorded, row, token)
        assert found.sum == pytest.approx(sum(term.value for term in found.terms))
        assert found.error <= 1e-4 * max(1, abs(found.logit))
        logits = recorded["to_logits.uncapped" if found.capped is not None else "to_logits.logits"].value
        assert found.logit == logits[0, row, found.token].item()


@torch.no_grad()
def test_a_head_of_the_last_layer_adds_what_its_zeroing_takes_away():
    """Where nothing normalizes after it, the head's share is exactly the difference that it makes."""
    spec = ARCHITECTURES["essential with cap"]
    spec = replace(spec, decoder=replace(spec.decoder, final_norm=NO_NORM))
    model, prompt = build(spec), [3, 1, 4, 1, 5]
    explained = explain(model, prompt)
    found = contributions(model, explained.trace, 4, 9)
    last = len(spec.decoder.blocks) - 1
    block, width = model.decoder.blocks[last], spec.decoder.blocks[last].attention.head_width
    after = explained.trace[f"decoder.blocks.{last}.self_attention.head_context"].value[0, 2, 4]
    added = block.self_attention.output.weight[:, 2 * width : 3 * width] @ after
    expected = (model.token_embedding.weight[9] @ added).item()
    (head,) = [term for term in found.terms if (term.layer, term.head) == (last, 2)]
    assert head.value == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_layers_sum_their_parts():
    model, recorded = plain(ENCODER_DECODERS["original"])
    found = contributions(model, recorded, 2)
    layers = list(by_layer(found.terms, 2))
    inside = sum(each["attention"] + each["cross"] + each["feed_forward"] + each["bias"] for each in layers)
    outside = sum(term.value for term in found.terms if term.layer is None)
    assert inside + outside == pytest.approx(found.sum)
    assert len(layers[1]["heads"]) == len(layers[1]["cross_heads"]) == 4


def test_the_view_follows_the_token_that_was_chosen():
    page = paged(ARCHITECTURES["default"])
    found = page.view("contributions", {"step": "1"})
    assert found["token"]["id"] == page.run.steps[1].chosen.token_id
    assert found["sum"] == pytest.approx(found["logit"], rel=1e-4)
