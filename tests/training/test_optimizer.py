"""Muon against torch's and against the formula, the schedule, the average, and a state that comes back whole."""

import pytest
import torch
from torch import nn

from openbook.training.lora import add_low_rank
from openbook.training.optimizer import Average, Muon, Optimizers, orthogonalize, schedule
from openbook.training.recipe import build_architecture
from openbook.transformer.decoder_only import DecoderOnly
from training_examples import make_loop, recipe, same, weights

SHAPES = [(8, 8), (24, 8), (8, 24), (8, 8), (1, 8), (33, 7)]
OPTIONS = {"lr": 0.03, "momentum": 0.9, "weight_decay": 0.1}


def matrices():
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]


def updated(optimizer, parameters, steps=5):
    """The parameters after some steps with the same gradients for everyone."""
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        for parameter in parameters:
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        optimizer.step()
    return torch.cat([parameter.detach().flatten() for parameter in parameters])


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [
        (torch.bfloat16, 0.1),  # of an update; products of 3 digits in another order
        (torch.float32, 0.1),  # the same: it is torch that rounds to bfloat16
    ],
)
@pytest.mark.parametrize("options", [{}, {"weight_decay": 0.0}, {"momentum": 0.0}])
def test_muon_is_that_of_torch(dtype, tolerance, options):
    ours, theirs = matrices(), matrices()
    one = updated(Muon(ours, dtype=dtype, **OPTIONS | options), ours)
    other = updated(torch.optim.Muon(theirs, **OPTIONS | options), theirs)
    start = torch.cat([parameter.detach().flatten() for parameter in matrices()])
    moved = (other - start).norm()
    assert moved > 0.1
    assert (one - other).norm() < tolerance * moved


def test_muon_follows_the_formula():
    """Jordan et al. 2024, in float64, one matrix at a time."""
    ours, rate, momentum, decay = matrices(), OPTIONS["lr"], OPTIONS["momentum"], OPTIONS["weight_decay"]
    one = updated(Muon(ours, dtype=torch.float32, **OPTIONS), ours)
    generator = torch.Generator().manual_seed(1)
    expected = [parameter.detach().double() for parameter in matrices()]
    buffers = [torch.zeros_like(weight) for weight in expected]
    for _ in range(5):
        for weight, buffer in zip(expected, buffers, strict=True):
            gradient = torch.randn(weight.shape, generator=generator).double()
            buffer.copy_(momentum * buffer + (1 - momentum) * gradient)
            x = momentum * buffer + (1 - momentum) * gradient
            x = x / x.norm()
            for _ in range(5):
                square = x @ x.T
                x = 3.4445 * x - 4.7750 * square @ x + 2.0315 * square @ square @ x
            weight *= 1 - rate * decay
            weight -= rate * max(1, weight.shape[0] / weight.shape[1]) ** 0.5 * x
    assert torch.allclose(one.double(), torch.cat([weight.flatten() for weight in expected]), atol=1e-4)


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 24, 8), (2, 8, 24)])
def test_orthogonalised_matrices_have_singular_values_near_one(shape):
    singular = torch.linalg.svdvals(orthogonalize(torch.randn(shape), torch.float32))
    assert 0.3 < singular.min() and singular.max() < 1.3


def test_a_gradient_of_zero_changes_nothing():
    parameter = nn.Parameter(torch.ones(4, 4))
    parameter.grad = torch.zeros(4, 4)
    Muon([parameter], dtype=torch.float32, lr=0.1, weight_decay=0.0).step()
    assert torch.equal(parameter, torch.ones(4, 4))


@pytest.mark.parametrize("changes", [{}, {"optimizer": "adamw"}, {"tied": True, "norm": "layer", "biases": True}])
def test_each_weight_is_in_one_group_with_its_rate(changes):
    rates = {"matrix_rate": 0.1, "adamw_rate": 0.2, "embedding_rate": 0.3, "logits_rate": 0.4, "vector_rate": 0.5}
    some = recipe(**changes, **rates, weight_decay=0.7)
    model = DecoderOnly(build_architecture(some))
    groups = [group for part in Optimizers(model, some, torch.float32).parts for group in part.param_groups]
    found = {id(weight): (group["lr"], group["weight_decay"]) for group in groups for weight in group["params"]}
    assert sum(len(group["params"]) for group in groups) == len(found) == len(list(model.parameters()))
    for name, weight in model.named_parameters():
        if weight.ndim == 1:
            expected = (0.5, 0.0)
        elif ".blocks." in name:
            expected = (0.2 if some.optimizer == "adamw" else 0.1, 0.7)
        else:
            expected = (0.4, 0.7) if name.startswith("to_logits") else (0.3, 0.0)
        assert found[id(weight)] == expected, name


def test_only_low_rank_changes_learn():
    some = recipe()
    model = DecoderOnly(build_architecture(some))
    add_low_rank(model, 2, ["query"], seed=1)
    parts = Optimizers(model, some, torch.float32).parts
    learning = {id(weight) for part in parts for group in part.param_groups for weight in group["params"]}
    names = {name for name, weight in model.named_parameters() if id(weight) in learning}
    start = "decoder.blocks.0.self_attention.query.parametrizations.weight.0."
    assert names == {start + "a", start + "b"}


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_the_state_comes_back_whole(tmp_path, optimizer):
    one, other = (make_loop(tmp_path, recipe(optimizer=optimizer)) for _ in range(2))
    for step in range(3):
        one._step()
        one.position.step = step + 1
    with torch.no_grad():
        for mine, its in zip(other.model.parameters(), one.model.parameters(), strict=True):
            mine.copy_(its)
    state = {name: value.clone() for name, value in one.optimizers.state().items()}
    other.optimizers.load_state(state)
    other.position.step = 3
    one._step(), other._step()
    assert same(weights(one.model), weights(other.model))
    assert same(one.optimizers.state(), other.optimizers.state())


def test_the_rates_rise_stay_and_fall():
    some = recipe(steps=100, warmup_steps=10, warmdown=0.4, final_rate=0.1)
    shares = [schedule(step / 100, step, some) for step in range(101)]
    assert shares[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert shares[10:61] == [1.0] * 51
    assert shares[80] == pytest.approx(0.55)
    assert shares[100] == pytest.approx(0.1)
    assert sorted(shares[60:], reverse=True) == shares[60:]


def test_rates_without_warm_up_or_warm_down_are_full():
    assert {schedule(step / 9, step, recipe(warmup_steps=0, warmdown=0.0)) for step in range(10)} == {1.0}


def test_a_step_takes_the_share_of_each_full_rate():
    some = recipe(embedding_rate=0.3)
    model = DecoderOnly(build_architecture(some))
    optimizers = Optimizers(model, some, torch.float32)
    for share in (0.5, 0.5):
        optimizers.step(share)
    rates = {group["lr"] for part in optimizers.parts for group in part.param_groups}
    assert 0.15 in rates and 0.3 not in rates


def test_the_average_is_that_of_a_plain_loop():
    model = nn.Linear(3, 2)
    average, expected = Average(model, 0.8), model.weight.detach().clone()
    for step in range(60):
        with torch.no_grad():
            model.weight.add_(torch.randn(2, 3))
        average.update(model, step)
        decay = min(0.8, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * model.weight.detach()
    assert torch.allclose(average.weights["weight"], expected, atol=1e-5)
    assert not torch.allclose(expected, model.weight)


def test_to_swap_twice_changes_nothing():
    model = nn.Linear(3, 2)
    average = Average(model, 0.8)
    with torch.no_grad():
        model.weight.add_(1.0)
    trained, averaged = weights(model), {name: weight.clone() for name, weight in average.weights.items()}
    average.swap(model)
    assert same(weights(model), averaged) and same(average.weights, trained)
    average.swap(model)
    assert same(weights(model), trained) and same(average.weights, averaged)
