"""A save is whole or not at all: killed, out of disk, or with readers at work."""

import os
import random
import resource
import signal
import threading
import time
from pathlib import Path

import pytest
import torch
from sample_files import in_child, metadata_of, tensors_of
from torch import Tensor

from openbook.errors import OpenbookError
from openbook.model_file.atomic import atomic_folder, atomic_write
from openbook.model_file.file import load, save
from openbook.model_file.tensor_shapes import expected_shapes
from openbook.transformer.architecture import Architecture, Attention, Block, FeedForward, Stack

BLOCK = Block(attention=Attention(heads=4, key_value_heads=4, head_width=64), feed_forward=FeedForward(width=1024))
LARGER = Architecture(vocab_size=4096, width=256, context=64, decoder=Stack(blocks=(BLOCK,) * 4))


def filled(value: float) -> dict[str, Tensor]:
    """The tensors of 25 MB of model, every number alike."""
    return {name: torch.full(shape, value) for name, shape in expected_shapes(LARGER).items()}


def value_in(path: Path) -> float:
    """The one number of which a whole file is full."""
    values = {value for tensor in load(path)[1].values() for value in (tensor.min().item(), tensor.max().item())}
    (value,) = values
    return value


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.openbook"


def test_killed_at_any_moment_leaves_a_whole_file(path: Path) -> None:
    metadata, first, second = metadata_of(LARGER), filled(1.0), filled(2.0)
    save(path, metadata, first)
    started = time.perf_counter()
    save(path, metadata, first)
    once = time.perf_counter() - started

    def save_forever() -> None:
        while True:
            save(path, metadata, second)
            save(path, metadata, first)

    moments = random.Random(0)
    interrupted = 0
    for _ in range(12):
        child = in_child(save_forever)
        time.sleep(moments.uniform(0.2, 2.5) * min(once, 0.4))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        assert value_in(path) in (1.0, 2.0)
        left = list(path.parent.glob(".*.partial"))
        interrupted += len(left)
        for file in left:
            file.unlink()
    assert interrupted  # or the test has shown nothing


def test_full_disk_keeps_the_old_file(path: Path) -> None:
    save(path, metadata_of(), tensors_of())
    old = path.read_bytes()

    def save_too_much() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
        with pytest.raises(OpenbookError, match=r"disk is full .* make room; the old file is unchanged") as caught:
            save(path, metadata_of(LARGER), filled(1.0))
        assert str(path) in str(caught.value)

    assert os.waitpid(in_child(save_too_much), 0)[1] == 0
    assert path.read_bytes() == old
    assert list(path.parent.iterdir()) == [path]


def test_readers_see_old_or_new_but_never_both(path: Path) -> None:
    metadata, versions = metadata_of(LARGER), (filled(1.0), filled(2.0))
    save(path, metadata, versions[0])
    before = load(path)[1]
    seen: list[float] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            seen.append(value_in(path))

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for round_ in range(6):
        save(path, metadata, versions[(round_ + 1) % 2])
    save(path, metadata, versions[1])
    done.set()
    for reader in readers:
        reader.join()
    assert {1.0, 2.0} >= set(seen) != set()
    assert all(tensor.eq(1.0).all() for tensor in before.values())
    assert value_in(path) == 2.0


def test_saving_over_the_file_that_is_loaded(path: Path) -> None:
    save(path, metadata_of(LARGER), filled(1.0))
    metadata, tensors = load(path)
    save(path, metadata, {name: tensor.add_(1) for name, tensor in tensors.items()})
    assert value_in(path) == 2.0


def test_interrupt_leaves_nothing_behind(path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), atomic_write(path) as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert list(path.parent.iterdir()) == []


def test_permissions_and_links_stay(path: Path) -> None:
    target = path.with_name("target.openbook")
    target.write_bytes(b"old")
    target.chmod(0o640)
    path.symlink_to(target)
    with atomic_write(path) as file:
        file.write(b"new")
    assert path.is_symlink()
    assert target.read_bytes() == b"new"
    assert target.stat().st_mode & 0o777 == 0o640


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="only root can make links of others")
def test_a_link_that_another_user_made_is_not_followed(path: Path) -> None:
    """It may have been put there while a training ran, in a folder that all may write to."""
    target = path.with_name("diary")
    target.write_bytes(b"mine")
    path.symlink_to(target)
    os.chown(path, 12345, 12345, follow_symlinks=False)
    with pytest.raises(OpenbookError, match="is a link that another user made"), atomic_write(path) as file:
        file.write(b"new")
    assert target.read_bytes() == b"mine"


def test_new_file_has_the_usual_permissions(path: Path) -> None:
    with atomic_write(path) as file:
        file.write(b"new")
    plain = path.with_name("plain")
    plain.touch()
    assert path.stat().st_mode == plain.stat().st_mode


def test_places_that_cannot_be_written(path: Path) -> None:
    with pytest.raises(OpenbookError, match="is a folder"), atomic_write(path.parent):
        pass
    with pytest.raises(OpenbookError, match="does not exist; make it first"), atomic_write(path / "missing" / "x"):
        pass
    with pytest.raises(OpenbookError, match="File name too long"), atomic_write(path.with_name("x" * 256)):
        pass


@pytest.mark.parametrize("letter", ["x", "灯"])
def test_a_name_as_long_as_names_can_be_is_written(path: Path, letter: str) -> None:
    longest = path.with_name(letter * (255 // len(letter.encode())))
    with atomic_write(longest) as file:
        file.write(b"new")
    assert longest.read_bytes() == b"new"
    with atomic_folder(path.with_name("y" + longest.name[1:]), overwrite=False) as folder:
        (folder / "file").write_bytes(b"new")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no pipes with names")
def test_what_is_no_file_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    for name in ("pipe", "link"):
        with pytest.raises(OpenbookError, match="is a device or a pipe"), atomic_write(tmp_path / name):
            pass
    assert (tmp_path / "pipe").is_fifo() and len(list(tmp_path.iterdir())) == 2
