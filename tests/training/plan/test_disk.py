"""A run that does not fit on the disk is refused before it starts."""

from types import SimpleNamespace

import pytest
from training_examples import TINY

from openbook.errors import OpenbookError
from openbook.training.plan import disk
from openbook.training.recipe import build_architecture, make_recipe


@pytest.mark.parametrize(
    ("changes", "frozen", "bytes_per_parameter"),
    [
        ({"optimizer": "muon"}, False, 4 * (2 * 2 + 1 + 1)),  # weights and momentum twice, the best, the model
        ({"optimizer": "adamw", "ema_decay": 0.9}, False, 4 * (2 * 4 + 1 + 1)),
        ({"optimizer": "muon"}, True, 4),
    ],
)
def test_what_a_run_writes_is_counted(tmp_path, monkeypatch, changes, frozen, bytes_per_parameter):
    recipe = make_recipe(TINY | {"vocab_size": 257, "tokenizer": "bytes", **changes})
    architecture = build_architecture(recipe)
    needed = bytes_per_parameter * disk.count_parameters(architecture) + 2 * 5_000_000
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda folder: SimpleNamespace(free=needed))
    disk.check_disk(tmp_path, architecture, recipe, 5_000_000, frozen)
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda folder: SimpleNamespace(free=needed - 1))
    with pytest.raises(OpenbookError, match=r"about 0\.0 GB of disk there .*tokens 0\.0.* are free; make room"):
        disk.check_disk(tmp_path, architecture, recipe, 5_000_000, frozen)
