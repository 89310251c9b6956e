"""Gradients reach every weight, and a step against them lowers the loss."""

import re
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from torch import nn

from openbook.transformer.transformer import Transformer
from strategies import DEFAULT, ESSENTIAL, architectures, build, randomise, some_tokens, with_windows


def loss_of(model, tokens):
    """Cross-entropy of each next token."""
    return F.cross_entropy(model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())


def silent(model, name):
    """Whether softmax hides this weight: scores that all move alike leave their weights as they are.

    So does a router whose shares are always the same, and an expert of a few that no token was sent to.
    """
    routed = re.match(r"(.*)\.router\.", name)
    if routed:
        experts = model.get_submodule(routed[1]).experts
        return experts.count == 1 or (experts.normalize_weights and experts.experts_per_token == 1)
    part = model.get_submodule(name.rpartition(".")[0])
    attention = model.get_submodule(name.rpartition(".")[0].rpartition(".")[0])
    return name.endswith("key.bias") and isinstance(part, nn.Linear) and attention.spec.attention_function == "softmax"


@given(spec=architectures())
def test_gradient_reaches_every_parameter(spec):
    model, tokens = build(with_windows(spec, None), dtype=torch.float64), some_tokens(8, 24)
    loss_of(model, tokens).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any() or silent(model, name), name


@given(spec=architectures())
def test_a_small_step_down_the_gradient_lowers_the_loss(spec):
    model, tokens = build(spec, dtype=torch.float64), some_tokens(4, 12)
    before = loss_of(model, tokens)
    before.backward()
    parameters = list(model.parameters())
    length = torch.stack([p.grad.norm() for p in parameters]).norm()
    with torch.no_grad():
        for parameter in parameters:
            parameter -= 1e-6 * parameter.grad / length
        after = loss_of(model, tokens)
    # To first order the loss falls by step · |gradient|.
    assert float(before.detach() - after) == pytest.approx(1e-6 * float(length), rel=0.05)


@pytest.mark.parametrize("spec", [DEFAULT, ESSENTIAL], ids=["default", "essential"])
@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_a_batch_can_be_learnt_by_heart(spec, dropout):
    model = Transformer(spec, dropout)
    randomise(model)
    tokens = some_tokens(2, 12)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    first = float(loss_of(model, tokens))
    for _ in range(100):
        optimizer.zero_grad()
        loss_of(model, tokens).backward()
        optimizer.step()
    assert float(loss_of(model.eval(), tokens)) < first / 4


def test_tied_embeddings_are_one_tensor():
    assert "to_logits.weight" not in dict(build(DEFAULT).named_parameters())
    assert "to_logits.weight" in dict(build(replace(DEFAULT, tied_embeddings=False)).named_parameters())
