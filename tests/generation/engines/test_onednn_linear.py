"""Products by oneDNN against those by PyTorch."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from openbook.generation.engines import onednn_linear as product
from openbook.generation.engines.onednn_linear import OneDNNWeight, onednn_is_faster
from openbook.generation.engines.torch_engine import TorchEngine
from strategies import DEFAULT, build, difference

WEIGHT = torch.randn(900, 700, generator=torch.Generator().manual_seed(0))


def onednn_is_there() -> bool:
    try:
        product.onednn_linear(torch.ones(1, 700), WEIGHT)
    except (AttributeError, RuntimeError):
        return False
    return True


needs_onednn = pytest.mark.skipif(not onednn_is_there(), reason="this build of PyTorch is without oneDNN")


@needs_onednn
@pytest.mark.parametrize("shape", [(1, 700), (3, 700), (2, 5, 700), (1, 1, 700)])
@pytest.mark.parametrize("bias", [None, torch.arange(900.0)])
def test_same_product(shape, bias) -> None:
    x = torch.randn(shape)
    ours = F.linear(x, OneDNNWeight.wrap(WEIGHT), bias)
    assert type(ours) is torch.Tensor
    assert difference(ours, F.linear(x, WEIGHT, bias)) < 1e-5


def test_other_uses_of_a_wrapped_weight_are_plain() -> None:
    wrapped = OneDNNWeight.wrap(WEIGHT)
    rows = F.embedding(torch.tensor([3, 899]), wrapped)
    assert type(rows) is torch.Tensor and torch.equal(rows, WEIGHT[[3, 899]])


@needs_onednn
@pytest.mark.parametrize("tied_embeddings", [True, False])
def test_an_engine_with_wrapped_weights_gives_the_same_logits(monkeypatch, tied_embeddings) -> None:
    model = build(replace(DEFAULT, tied_embeddings=tied_embeddings))
    prompts = [[1, 2, 3], [4]]
    _, plain = TorchEngine(model).prefill(prompts)
    monkeypatch.setattr(product, "onednn_is_faster", lambda weight: True)
    monkeypatch.setattr(product, "MIN_MULTIPLICATIONS", 0)
    engine = TorchEngine(model)
    wrapped = [m for m in engine._model.modules() if isinstance(getattr(m, "weight", None), OneDNNWeight)]
    assert len(wrapped) == 7 * 2 + (1 if tied_embeddings else 2)
    assert difference(engine.prefill(prompts)[1], plain) < 1e-5


def test_a_build_without_onednn_does_without(monkeypatch) -> None:
    def missing(*arguments):
        raise AttributeError("no such operator")

    monkeypatch.setattr(product, "onednn_linear", missing)
    assert not onednn_is_faster(WEIGHT)


def test_a_kernel_that_is_wrong_or_slower_is_not_taken(monkeypatch) -> None:
    monkeypatch.setattr(product, "_seconds", lambda f, row, weight: 1.0 if f is F.linear else 0.5)
    monkeypatch.setattr(product, "onednn_linear", F.linear)
    assert not onednn_is_faster(WEIGHT), "equal times are no reason to change"
    monkeypatch.setattr(product, "onednn_linear", lambda x, weight: F.linear(x, weight) + 1)
    assert not onednn_is_faster(WEIGHT)
    monkeypatch.setattr(product, "onednn_linear", lambda x, weight: F.linear(x, weight))
    assert onednn_is_faster(WEIGHT)
