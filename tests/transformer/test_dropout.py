"""Dropout: some numbers gone, the rest larger by as much, and only in training."""

import pytest
import torch

from openbook.transformer.dropout import Dropout
from openbook.transformer.transformer import Transformer
from strategies import DEFAULT, build, some_tokens


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_the_share_and_the_scale(rate):
    y = Dropout(rate)(torch.ones(100_000))
    kept = y[y != 0]
    assert len(kept) / len(y) == pytest.approx(1 - rate, abs=0.01)
    rounded = round(rate * 256) / 256  # the share is a whole number of 256ths, and the scale belongs to that one
    torch.testing.assert_close(kept, torch.full_like(kept, 1 / (1 - rounded)))


def test_each_number_falls_on_its_own():
    dropped = Dropout(0.5)(torch.ones(64, 64)) == 0
    assert 0.4 < dropped.float().mean() < 0.6
    assert not (dropped == dropped[:1]).all()
    assert not (dropped == dropped[:, :1]).all()


def test_gradient_goes_where_the_number_went():
    x = torch.ones(1000, requires_grad=True)
    y = Dropout(0.5)(x)
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())


def test_a_rate_of_nothing_and_evaluation_change_nothing():
    x = torch.randn(100)
    assert torch.equal(Dropout(0.0)(x), x)
    assert torch.equal(Dropout(0.5).eval()(x), x)


def test_the_seed_decides():
    part, x = Dropout(0.5), torch.ones(100)
    torch.manual_seed(1)
    first = part(x)
    torch.manual_seed(1)
    assert torch.equal(part(x), first)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_the_dtype_stays(dtype):
    assert Dropout(0.1)(torch.ones(10, dtype=dtype)).dtype == dtype


def test_a_model_drops_in_training_alone():
    model, tokens = build(DEFAULT), some_tokens(1, 6)
    noisy = Transformer(DEFAULT, dropout=0.3)
    noisy.load_state_dict(model.state_dict())
    assert not torch.allclose(noisy(tokens), noisy(tokens))
    assert torch.equal(noisy.eval()(tokens), model(tokens))
