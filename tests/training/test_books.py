"""Learning next tokens: chunks of logits give the loss and the gradients of the whole."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from openbook.training import books
from openbook.training.books import learn_next_tokens
from openbook.training.initialize import initialize
from strategies import DEFAULT, build


@pytest.mark.parametrize("tied", [False, True])
def test_logits_a_few_at_a_time_teach_what_all_at_once_teach(monkeypatch, tied):
    monkeypatch.setattr(books, "LOGITS_AT_ONCE", 1)  # 64 tokens at a time
    model = build(replace(DEFAULT, tied=tied))
    ids = torch.randint(DEFAULT.vocabulary, (9, 16))
    documents = torch.randint(2, (9, 15)).sort().values
    total = learn_next_tokens(model, ids, documents, 0.25)
    chunked = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    logits = model(ids[:, :-1], documents=documents)
    loss = 0.25 * F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="sum")
    loss.backward()
    torch.testing.assert_close(total, loss.detach(), rtol=1e-6, atol=0)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(chunked[name], parameter.grad, rtol=1e-4, atol=1e-6, msg=name)


def test_first_weights_have_no_opinion():
    model = build(replace(DEFAULT, tied=False))
    initialize(model, seed=3)
    logits = model(torch.randint(DEFAULT.vocabulary, (2, 5)))
    assert logits.abs().max() == 0
