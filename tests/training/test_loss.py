"""The loss in chunks is the loss of all logits at once, and so are its gradients, for both kinds of model."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from openbook.training import loss as loss_module
from openbook.training.initialize import initialize
from openbook.training.loss import IGNORE_INDEX, Batch, forward_backward, hidden_states
from openbook.training.recipe import build_architecture, make_recipe
from openbook.transformer.transformer import Transformer
from strategies import DEFAULT, build

TINY = {"width": 16, "heads": 2, "key_value_heads": 2, "head_width": 8, "feed_forward_width": 16, "vocab_size": 40}


def translator(**changes):
    model = Transformer(build_architecture(make_recipe(TINY | {"encoder_layers": 1, "layers": 1} | changes)))
    initialize(model, 0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight) * 0.1)
    return model


@pytest.mark.parametrize("label_smoothing", [0.0, 0.2])
@pytest.mark.parametrize("kind", ["tied_embeddings", "untied", "encoder-decoder"])
def test_chunks_give_the_loss_and_gradients_of_all_logits_at_once(monkeypatch, kind, label_smoothing):
    monkeypatch.setattr(loss_module, "MAX_LOGITS", 1)
    monkeypatch.setattr(loss_module, "MIN_CHUNK", 50)
    model = (
        translator()
        if kind == "encoder-decoder"
        else build(replace(DEFAULT, tied_embeddings=kind == "tied_embeddings"))
    )
    vocabulary = model.architecture.vocab_size
    ids, source = torch.randint(vocabulary, (9, 16)), torch.randint(vocabulary, (9, 7))
    labels = ids[:, 1:].clone()
    labels[torch.rand(labels.shape) < 0.2] = IGNORE_INDEX
    if kind == "encoder-decoder":
        batch = Batch(source, None, ids[:, :-1], labels)
    else:
        batch = Batch(None, None, ids[:, :-1], labels, torch.randint(2, (9, 15)).sort().values)
    total = forward_backward(model, batch, 0.25, label_smoothing)
    chunked = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    logits = model.logits(hidden_states(model, batch)).flatten(0, 1)
    loss = 0.25 * F.cross_entropy(logits, labels.flatten(), reduction="sum", label_smoothing=label_smoothing)
    loss.backward()
    plain = 0.25 * F.cross_entropy(logits, labels.flatten(), reduction="sum")
    torch.testing.assert_close(total, plain.detach(), rtol=1e-6, atol=0)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(chunked[name], parameter.grad, rtol=1e-4, atol=1e-6, msg=name)
