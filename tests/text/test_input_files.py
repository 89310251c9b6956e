import os
from pathlib import Path

import pytest

from openbook.errors import OpenbookError
from openbook.text.input_files import find_files
from openbook.text.printable import printable_path


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")


def test_folders_are_searched_through_sorted_and_without_hidden_files(tmp_path: Path) -> None:
    touch(tmp_path, "b.txt", "a.txt", "c/d.md", "c/.hidden", ".git/config", "a-first/z.txt")
    found = [str(path.relative_to(tmp_path)) for path in find_files([tmp_path])]
    assert found == ["a.txt", "b.txt", "a-first/z.txt", "c/d.md"]


def test_working_folders_are_no_books(tmp_path: Path) -> None:
    touch(tmp_path, "a.txt", "it.openbook.training/text/train.txt", "my.training/b.txt")
    for inputs in ([tmp_path], [tmp_path / "*"], [tmp_path / "**/*.txt"]):
        assert sorted(path.name for path in find_files(inputs)) == ["a.txt", "b.txt"]
    for named in (tmp_path / "it.openbook.training", tmp_path / "it.openbook.training/text/*.txt"):
        assert [path.name for path in find_files([named])] == ["train.txt"]


def test_the_order_of_inputs_stays_and_no_file_comes_twice(tmp_path: Path) -> None:
    touch(tmp_path, "a.txt", "b.txt")
    (tmp_path / "link.txt").symlink_to(tmp_path / "a.txt")
    found = find_files([tmp_path / "b.txt", tmp_path / "*.txt", str(tmp_path)])
    assert [path.name for path in found] == ["b.txt", "a.txt"]


def test_globs(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.txt", "a/2.md", "b/3.txt", "b/.4.txt", "with[brackets].txt")
    assert [path.name for path in find_files([tmp_path / "**/*.txt"])] == ["1.txt", "3.txt", "with[brackets].txt"]
    assert [path.name for path in find_files([tmp_path / "with[brackets].txt"])] == ["with[brackets].txt"]


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    for missing in ("nothing.txt", "*.epub"):
        with pytest.raises(OpenbookError, match="no such file"):
            find_files([tmp_path / missing])


def test_link_loops_end(tmp_path: Path) -> None:
    touch(tmp_path, "folder/a.txt")
    (tmp_path / "folder/up").symlink_to(tmp_path)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert [path.name for path in find_files([tmp_path])] == ["loop", "a.txt"]


def test_names_that_are_not_utf8_can_be_shown(tmp_path: Path) -> None:
    try:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.txt")).write_text("x")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    (book,) = find_files([tmp_path])
    assert printable_path(book).endswith("caf\ufffd.txt")


def test_a_folder_that_cannot_be_listed_is_kept_to_be_complained_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path, "a.txt", "locked/b.txt")
    scan = os.scandir

    def refuse(path: str) -> object:
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert [path.name for path in find_files([tmp_path])] == ["a.txt", "locked"]
