"""Killed on some processes and resumed on others, a run ends as if nothing had been; damage is told."""

import shutil
import signal

import pytest
import torch
from groups import in_group, result_in, train_loop
from test_data_order import SOME, assert_alike, trained
from training_examples import make_loop, recipe

from openbook.errors import OpenbookError
from openbook.training.checkpoint import Checkpointer

CHANGES = SOME | {"steps": 30, "ema_decay": 0.9}
KILLED = -signal.SIGKILL


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("whole") / "1", 1, CHANGES)


def test_killed_five_times_on_other_numbers_of_processes(tmp_path, whole):
    folder = tmp_path / "run"
    for size, kill in ((4, (2, 5)), (2, (0, 11)), (1, (0, 16)), (3, (1, 21)), (2, (1, 26))):
        codes = in_group(size, train_loop, folder, CHANGES, 0.0, kill)
        assert codes[kill[0]] == KILLED and all(codes), codes
        assert Checkpointer(folder).exists
    assert in_group(2, train_loop, folder, CHANGES, 0.0) == [0] * 2
    losses, weights = result_in(folder)
    assert min(losses) >= 25  # nothing but the last step was lost
    assert_alike(whole, ({**whole[0], **losses}, weights), 30)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """The folder of a run of two processes that were killed, with a checkpoint of both."""
    folder = tmp_path_factory.mktemp("killed") / "run"
    assert all(in_group(2, train_loop, folder, CHANGES, 0.0, (1, 9)))
    return folder


@pytest.mark.parametrize("damage", ["missing", "short", "state", "other"])
def test_a_damaged_checkpoint_is_told(tmp_path, checkpoint, damage):
    folder = tmp_path / "run"
    shutil.copytree(checkpoint, folder)
    (parts,) = Checkpointer(folder).parts
    part = sorted(parts.glob("*.safetensors"))[1]
    words = {"missing": rf"{part.name}: is missing", "short": rf"{part.name}: is missing or not whole"}
    if damage == "missing":
        part.unlink()
    elif damage == "short":
        part.write_bytes(part.read_bytes()[:-1])
    elif damage == "state":
        (parts / "state.json").write_text("{}")
    changes = CHANGES | ({"width": 24} if damage == "other" else {})
    with pytest.raises(OpenbookError, match=words.get(damage, "is of another model|is not a checkpoint")) as caught:
        make_loop(folder, recipe(**changes)).run()
    assert "\n" not in str(caught.value)
    assert parts.exists()


def test_one_process_reads_the_parts_to_the_bit(tmp_path, checkpoint):
    """What two processes wrote, one reads, writes as a file and reads again."""
    folder = tmp_path / "run"
    shutil.copytree(checkpoint, folder)
    one, other = (make_loop(folder, recipe(**CHANGES)) for _ in range(2))
    one._resume()
    one._save()
    assert not one.checkpointer.parts and one.checkpointer.latest.exists()
    other._resume()
    assert one.state.step == other.state.step in (7, 8)  # that of step 8 may have been under way
    for mine, its in zip(one._tensors().values(), other._tensors().values(), strict=True):
        assert torch.equal(mine, its)
