"""A run is the same on one process and on many: samples, dropout, losses and weights."""

import pytest
import torch
from groups import in_group, result_in, train_loop
from training_examples import same

SOME = {"steps": 200, "batch_tokens": 128, "micro_batch_size": 2, "dropout": 0.2, "validations": 4}


def trained(folder, size, changes):
    assert in_group(size, train_loop, folder, changes) == [0] * size
    return result_in(folder)


def assert_alike(one, other, steps):
    (losses, weights), (other_losses, other_weights) = one, other
    assert losses.keys() == other_losses.keys() == set(range(1, steps + 1))
    assert [losses[step] for step in losses] == pytest.approx([other_losses[step] for step in losses], rel=1e-5)
    for name, weight in weights.items():
        torch.testing.assert_close(other_weights[name], weight, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "changes",
    [
        {"ema_decay": 0.9},
        pytest.param(
            {"optimizer": "adamw", "tied_embeddings": True, "steps": 100, "experts": 4, "feed_forward_width": 8},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_one_two_and_four_processes_learn_the_same(tmp_path, changes):
    changes = SOME | changes
    alone = trained(tmp_path / "1", 1, changes)
    for size in (2, 4):
        assert_alike(alone, trained(tmp_path / str(size), size, changes), changes["steps"])


def test_as_many_processes_again_give_the_same_bits(tmp_path):
    one, other = (trained(tmp_path / name, 2, SOME | {"steps": 20}) for name in "ab")
    assert one[0] == other[0] and same(one[1], other[1])


def test_more_processes_than_micro_batches_learn_the_same(tmp_path):
    changes = SOME | {"steps": 10, "batch_tokens": 64}
    assert_alike(trained(tmp_path / "1", 1, changes), trained(tmp_path / "3", 3, changes), 10)
