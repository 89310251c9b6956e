"""The logit lens against models that are cut off after each layer."""

from dataclasses import replace

import pytest
import torch
from traced_examples import ARCHITECTURES

from openbook.explanation.run import explain
from openbook.explanation.views.lens import logit_lens
from openbook.transformer.transformer import Transformer
from strategies import build


@pytest.mark.parametrize("name", ["default", "post norms", "sandwich norms", "logits", "essential"])
def test_each_layer_predicts_what_a_model_that_ends_there_predicts(name):
    spec, prompt = ARCHITECTURES[name], [3, 1, 4, 1, 5]
    model = build(spec)
    explained = explain(model, prompt)
    predictions = logit_lens(explained)
    assert [prediction.layer for prediction in predictions] == list(range(-1, len(spec.decoder.blocks)))
    answer = int(explained.choice)
    for count, prediction in enumerate(predictions[1:], start=1):
        cut = replace(spec, decoder=replace(spec.decoder, blocks=spec.decoder.blocks[:count]))
        shorter = Transformer(cut)
        shorter.load_state_dict(model.state_dict(), strict=False)
        shorter.eval()
        with torch.no_grad():
            probability = shorter(torch.tensor([prompt]))[0, -1].softmax(-1)
        assert prediction.token_id == int(probability.argmax())
        assert prediction.probability == pytest.approx(float(probability.max()), rel=1e-4)
        assert prediction.answer_probability == pytest.approx(float(probability[answer]), rel=1e-4)
        assert prediction.answer_rank == 1 + int((probability > probability[answer]).sum())
    assert predictions[-1].answer_rank == 1
    assert predictions[-1].token_id == answer


def test_the_prediction_after_any_token():
    explained = explain(build(ARCHITECTURES["default"]), [3, 1, 4, 1, 5])
    shorter = explain(explained.model, [3, 1, 4])
    for here, there in zip(logit_lens(explained, 2), logit_lens(shorter), strict=True):
        assert (here.layer, here.token_id, here.answer_rank) == (there.layer, there.token_id, there.answer_rank)
        assert here.probability == pytest.approx(there.probability, rel=1e-5)
