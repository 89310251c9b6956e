"""A run that does not fit on the disk is refused before it starts."""

from types import SimpleNamespace
from unittest.mock import patch

import pytest
from training_examples import TINY, write_book

import openbook
from openbook.errors import OpenbookError
from openbook.training import begin
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


def free(count):
    return patch("shutil.disk_usage", lambda folder: SimpleNamespace(free=count))


def test_text_that_cannot_fit_is_refused_before_it_is_read(tmp_path):
    book = write_book(tmp_path / "book.txt")
    size = book.stat().st_size
    with free(2 * size - 1), patch("openbook.training.start.prepare_corpus") as prepare:
        with pytest.raises(OpenbookError, match=r"a.openbook.training: preparing .* of text takes .* another output"):
            openbook.train(book, tmp_path / "a.openbook", device="cpu", **TINY)
        prepare.assert_not_called()
    assert [path.name for path in tmp_path.iterdir()] == ["book.txt"]


def test_pictures_in_books_count_for_nothing(tmp_path):
    (tmp_path / "book.pdf").write_bytes(b"x" * 1000)
    (tmp_path / "book.txt").write_bytes(b"x" * 10)
    with free(20):
        begin.check_room(tmp_path, list(tmp_path.iterdir()))
    with free(19), pytest.raises(OpenbookError, match="are free; make room"):
        begin.check_room(tmp_path, list(tmp_path.iterdir()))


def test_a_base_whose_checkpoints_cannot_fit_is_refused_before_text_is_read(tmp_path):
    book = write_book(tmp_path / "book.txt")
    with patch("openbook.training.plan.measure.step_seconds", lambda *arguments: 0.01):
        openbook.train(book, tmp_path / "base.openbook", device="cpu", **TINY | {"steps": 1, "vocab_size": 300})
    size = (tmp_path / "base.openbook").stat().st_size
    write_book(book, 100)
    with free(size // 2), patch("openbook.training.run.BookDataset") as dataset:
        with pytest.raises(OpenbookError, match=r"training takes about .* GB of disk there"):
            openbook.train(book, tmp_path / "b.openbook", base_model=tmp_path / "base.openbook", device="cpu", steps=1)
        dataset.assert_not_called()
