"""The logit lens against models that are cut off after each layer."""

from dataclasses import replace

import pytest
import torch
from traced_examples import ARCHITECTURES

from openbook.explanation.lens import read_layers
from openbook.explanation.run import explain
from openbook.transformer.transformer import Transformer
from strategies import build


@pytest.mark.parametrize("name", ["default", "post norms", "sandwich norms", "logits", "essential"])
def test_each_layer_says_what_a_model_that_ends_there_says(name):
    spec, prompt = ARCHITECTURES[name], [3, 1, 4, 1, 5]
    model = build(spec)
    explained = explain(model, prompt)
    readings = read_layers(explained)
    assert [reading.layer for reading in readings] == list(range(-1, len(spec.decoder.blocks)))
    answer = int(explained.choice)
    for count, reading in enumerate(readings[1:], start=1):
        cut = replace(spec, decoder=replace(spec.decoder, blocks=spec.decoder.blocks[:count]))
        shorter = Transformer(cut)
        shorter.load_state_dict(model.state_dict(), strict=False)
        shorter.eval()
        with torch.no_grad():
            probability = shorter(torch.tensor([prompt]))[0, -1].softmax(-1)
        assert reading.token == int(probability.argmax())
        assert reading.probability == pytest.approx(float(probability.max()), rel=1e-4)
        assert reading.answer == pytest.approx(float(probability[answer]), rel=1e-4)
        assert reading.rank == 1 + int((probability > probability[answer]).sum())
    assert readings[-1].rank == 1
    assert readings[-1].token == answer


def test_any_place_can_be_read():
    explained = explain(build(ARCHITECTURES["default"]), [3, 1, 4, 1, 5])
    shorter = explain(explained.model, [3, 1, 4])
    for here, there in zip(read_layers(explained, 2), read_layers(shorter), strict=True):
        assert (here.layer, here.token, here.rank) == (there.layer, there.token, there.rank)
        assert here.probability == pytest.approx(there.probability, rel=1e-5)
