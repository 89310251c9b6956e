"""A model that is split among processes learns what a whole one learns."""

import pytest
import torch
from groups import in_group, result_in, train_loop
from test_data_order import SOME, assert_alike, trained
from training_examples import recipe, same, weights

from openbook.training.group import part_sizes
from openbook.training.initialize import initialize
from openbook.training.recipe import build_architecture
from openbook.transformer.transformer import Transformer

CHANGES = [
    {"ema_decay": 0.9, "layers": 2, "bias": True},
    {"optimizer": "adamw", "tied_embeddings": True, "gradient_checkpointing": True, "norm": "layer"},
    {"experts": 3, "feed_forward_width": 8, "position": "relative"},
]


@pytest.mark.parametrize("changes", [*(pytest.param(each, marks=pytest.mark.slow) for each in CHANGES[:2]), CHANGES[2]])
def test_three_processes_learn_what_one_does(tmp_path, changes):
    """Of 4 micro-batches, and of 16 rows, three processes have unequal parts."""
    changes = SOME | {"steps": 30} | changes
    alone = trained(tmp_path / "1", 1, changes)
    assert in_group(3, train_loop, tmp_path / "3", changes, 1e9, None, True) == [0] * 3
    assert_alike(alone, result_in(tmp_path / "3"), 30)


@pytest.mark.slow
@pytest.mark.parametrize("changes", CHANGES)
def test_two_processes_learn_what_one_does_in_many_steps(tmp_path, changes):
    changes = SOME | changes
    alone = trained(tmp_path / "1", 1, changes)
    assert in_group(2, train_loop, tmp_path / "2", changes, 1e9, None, True) == [0] * 2
    assert_alike(alone, result_in(tmp_path / "2"), 200)


@pytest.mark.slow
def test_split_and_whole_take_turns(tmp_path):
    changes, folder = SOME | {"steps": 30, "ema_decay": 0.9}, tmp_path / "run"
    alone = trained(tmp_path / "1", 1, changes)
    for size, kill, split in ((3, (1, 8), True), (2, (0, 15), False), (2, (1, 22), True)):
        assert all(in_group(size, train_loop, folder, changes, 0.0, kill, split))
    assert in_group(1, train_loop, folder, changes, 0.0) == [0]
    losses, found = result_in(folder)
    assert min(losses) >= 21
    assert_alike(alone, ({**alone[0], **losses}, found), 30)


@pytest.mark.parametrize("changes", [*CHANGES, {"encoder_layers": 1, "position": "sinusoidal"}])
def test_every_weight_is_initialized(changes):
    """A model is made without memory for its weights first; nothing of what that memory held may stay."""
    some = recipe(**changes)
    model = Transformer(build_architecture(some))
    initialize(model, 1)
    with torch.device("meta"):
        other = Transformer(build_architecture(some))
    other.to_empty(device="cpu")
    with torch.no_grad():
        for weight in other.parameters():
            weight.fill_(torch.nan)
    initialize(other, 1)
    assert same(weights(model), weights(other))


@pytest.mark.parametrize(("rows", "processes"), [(1, 3), (3, 3), (7, 3), (16, 4), (2, 5)])
def test_parts_are_those_of_torch_chunk(rows, processes):
    expected = [len(part) for part in torch.zeros(rows).chunk(processes)]
    assert part_sizes(rows, processes) == expected + [0] * (processes - len(expected))
