"""Data parallelism: the same gradients as one micro-batch after another, and the same bits every time."""

import pytest
import torch
from training_examples import recipe

from openbook.training.data_parallel import (
    MAX_PARAMETERS,
    DataParallel,
    choose_replicas,
    dropout_seed,
    max_replicas,
    replicate,
)
from openbook.training.initialize import initialize
from openbook.training.loss import Batch, forward_backward
from openbook.training.recipe import build_architecture
from openbook.transformer.transformer import Transformer

CPU = torch.device("cpu")


def model_of(dropout=0.0, **changes):
    model = Transformer(build_architecture(recipe(encoder_layers=1, qk_norm=False, **changes)), dropout)
    initialize(model, seed=3)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.rand(weight.shape, generator=torch.Generator().manual_seed(5)), alpha=0.1)
    return model.train()


def micro_batches(model, count):
    choose = torch.Generator().manual_seed(1)

    def ids(*shape):
        return torch.randint(model.architecture.vocab_size, shape, generator=choose)

    return [Batch(ids(3, 7), None, ids(3, 5), ids(3, 5)) for _ in range(count)]


def gradients_of(model, replicas, batches, seed=0):
    loss = DataParallel(model, replicas).forward_backward(
        batches,
        lambda replica, batch: forward_backward(replica, batch, 0.1),
        [dropout_seed(seed, 0, number) for number in range(len(batches))],
    )
    found = [weight.grad for weight in model.parameters()]
    model.zero_grad(set_to_none=True)
    return loss, found


@pytest.mark.parametrize("position", ["relative", "rotary"])
@pytest.mark.parametrize(("replicas", "count"), [(2, 1), (2, 5), (3, 3), (4, 2)])
def test_gradients_are_those_of_one_micro_batch_after_another(position, replicas, count):
    model = model_of(position=position)
    batches = micro_batches(model, count)
    (loss, mine), (alone, wanted) = gradients_of(model, replicas, batches), gradients_of(model, 1, batches)
    torch.testing.assert_close(loss, alone)
    for one, other in zip(mine, wanted, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_the_same_step_is_the_same_to_the_bit_with_dropout_too():
    model = model_of(dropout=0.4)
    batches = micro_batches(model, 6)
    first, *others = (gradients_of(model, 2, batches, seed)[1] for seed in (1, 1, 1, 2))
    same = [all(map(torch.equal, first, other)) for other in others]
    assert same == [True, True, False]


@pytest.mark.parametrize("replicas", [1, 3])
def test_what_is_dropped_does_not_depend_on_the_number_of_replicas(replicas):
    model = model_of(dropout=0.4)
    batches = micro_batches(model, 6)
    for one, other in zip(gradients_of(model, replicas, batches)[1], gradients_of(model, 2, batches)[1], strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_each_micro_batch_has_dropout_of_its_own():
    model = model_of(dropout=0.4)
    batch = micro_batches(model, 1)[0]
    twice = gradients_of(model, 2, [batch, batch])[1]
    once = gradients_of(model, 2, [batch])[1]
    assert not all(torch.allclose(two, 2 * one) for two, one in zip(twice, once, strict=True))


def test_weights_are_shared_and_gradients_are_not():
    model = model_of()
    other = replicate(model)
    with torch.no_grad():
        next(model.parameters()).fill_(7.0)
    for mine, its in zip(model.parameters(), other.parameters(), strict=True):
        assert mine is not its and torch.equal(mine, its) and mine.data_ptr() == its.data_ptr()
    next(other.parameters()).sum().backward()
    assert next(model.parameters()).grad is None


def test_threads_get_back_the_number_of_cores():
    model, before = model_of(), torch.get_num_threads()
    gradients_of(model, 2, micro_batches(model, 2))
    assert torch.get_num_threads() == before


def test_errors_in_a_thread_are_raised():
    def fail(model, batch):
        raise RuntimeError("batch 1 is bad")

    with pytest.raises(RuntimeError, match="batch 1 is bad"):
        DataParallel(model_of(), 2).forward_backward([0, 1], fail, [0, 1])


def test_only_small_models_on_a_processor_with_large_enough_micro_batches(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    some = {"context": 64, "micro_batch_size": 8, "batch_tokens": 2048}
    assert choose_replicas(recipe(**some), 1000, CPU) == 4
    assert choose_replicas(recipe(**some | {"batch_tokens": 1024}), 1000, CPU) == 2
    assert choose_replicas(recipe(**some | {"micro_batch_size": 4}), 1000, CPU) == 1
    assert choose_replicas(recipe(**some, gradient_checkpointing=True), 1000, CPU) == 1
    assert max_replicas(MAX_PARAMETERS + 1, CPU) == max_replicas(1000, torch.device("cuda")) == 1
