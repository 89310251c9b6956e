"""Files of strangers: pipes are not waited for, and links lead nowhere but to what belongs together."""

import os
from pathlib import Path

import pytest

from openbook.errors import OpenbookError
from openbook.text.plain_files import open_member, open_plain

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no pipes with names")


def read(path: Path) -> bytes:
    with open_member(path) as file:
        return file.read()


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_text("mine")
    return tmp_path / "secret"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "folder" / "inner").mkdir(parents=True)
    (tmp_path / "folder" / "plain").write_text("theirs")
    (tmp_path / "folder" / "inner" / "plain").write_text("deeper")
    return tmp_path / "folder"


@pytest.mark.parametrize("opening", [open_plain, open_member])
def test_pipes_devices_and_folders_are_refused(folder: Path, opening: object) -> None:
    os.mkfifo(folder / "pipe")
    for name in ("pipe", "inner"):
        with pytest.raises(OpenbookError, match=f"{name}: is not a plain file"):
            opening(folder / name)  # type: ignore[operator]
    with pytest.raises(OpenbookError, match="null: is not a plain file"):
        opening(Path("/dev/null"))  # type: ignore[operator]
    with pytest.raises(FileNotFoundError):
        opening(folder / "none")  # type: ignore[operator]


@pytest.mark.parametrize("target", ["../secret", "{}/secret", "there/../../secret", "step", "/dev/zero"])
def test_links_that_leave_the_folder_are_refused(folder: Path, secret: Path, target: str) -> None:
    (folder / "there").symlink_to("inner")
    (folder / "step").symlink_to("../secret")
    (folder / "link").symlink_to(target.format(secret.parent))
    with pytest.raises(OpenbookError, match=r"^link: is a link out of its folder, to .*; put a copy in its place"):
        open_member(folder / "link")
    (folder / "loop").symlink_to("loop")
    with pytest.raises(OSError, match="symbolic links"):
        open_member(folder / "loop")


def test_links_within_the_folder_and_to_the_folder_are_followed(folder: Path) -> None:
    (folder / "link").symlink_to("inner/plain")
    (folder.parent / "elsewhere").symlink_to(folder)
    assert read(folder.parent / "elsewhere" / "link") == b"deeper"
    assert read(folder.parent / "elsewhere" / "plain") == b"theirs"


def cached(root: Path, name: str, target: str) -> Path:
    """A link in a snapshot of a repository, as in the cache of Hugging Face."""
    snapshot = root / "models--a--b" / "snapshots" / "0123"
    (snapshot / "sub").mkdir(parents=True)
    (root / "models--a--b" / "blobs").mkdir()
    (root / "models--a--b" / "blobs" / "abc").write_text("blob")
    (root / "models--c--d" / "blobs").mkdir(parents=True)
    (root / "models--c--d" / "blobs" / "abc").write_text("another repository")
    (snapshot / name).symlink_to(target)
    return snapshot / name


@pytest.mark.parametrize(("name", "target"), [("a", "../../blobs/abc"), ("sub/a", "../../../blobs/abc")])
def test_a_snapshot_links_to_the_blobs_of_its_repository(tmp_path: Path, name: str, target: str) -> None:
    assert read(cached(tmp_path, name, target)) == b"blob"


@pytest.mark.parametrize("target", ["../../../models--c--d/blobs/abc", "../../../secret", "../../blobs/out"])
def test_a_snapshot_links_to_nothing_else(tmp_path: Path, secret: Path, target: str) -> None:
    link = cached(tmp_path, "a", target)
    (tmp_path / "models--a--b" / "blobs" / "out").symlink_to(secret)
    with pytest.raises(OpenbookError, match="out of its folder"):
        open_member(link)
