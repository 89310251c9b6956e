"""Outputs never go over inputs, and over other files only where that was asked for."""

import errno
import os
import tempfile
from pathlib import Path

import pytest

from openbook.errors import OpenbookError
from openbook.interop.importing import import_model
from openbook.model import train
from openbook.model_file.output_path import (
    check_new_file,
    check_output_file,
    check_output_folder,
    default_model_path,
    with_model_suffix,
)


@pytest.mark.parametrize("link", [None, os.symlink, os.link])
def test_an_input_is_never_an_output(tmp_path, link):
    book = tmp_path / "book.openbook"
    book.write_text("Once upon a time.\n" * 500)
    output = book if link is None else tmp_path / "link.openbook"
    if link is not None:
        link(book, output)
    with pytest.raises(OpenbookError, match=r"is the input .*book.openbook"):
        train(book, output, overwrite=True, steps=1, device="cpu")
    with pytest.raises(OpenbookError, match=r"is the input .*book.openbook"):
        import_model(book, output, overwrite=True)
    assert book.read_text() == "Once upon a time.\n" * 500


def test_another_file_is_replaced_only_if_asked(tmp_path):
    note = tmp_path / "note.txt"
    note.write_text("mine")
    (tmp_path / "some").mkdir()
    with pytest.raises(OpenbookError, match=r"note.txt: exists; .*overwrite"):
        import_model(tmp_path / "some", note)
    check_output_file(note, [tmp_path / "other"], overwrite=True)
    assert note.read_text() == "mine"


def test_a_link_is_written_through_only_if_asked(tmp_path):
    """Even where it leads to no file yet: somebody else may have put it there."""
    (tmp_path / "out.openbook").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OpenbookError, match=r"out.openbook: exists; .*"):
        check_output_file(tmp_path / "out.openbook", [tmp_path / "other"], overwrite=False)
    check_output_file(tmp_path / "out.openbook", [tmp_path / "other"], overwrite=True)


@pytest.mark.parametrize("name", ["", ".", "..", "/"])
def test_a_folder_is_no_output_file(name):
    path = with_model_suffix(Path(name))
    with pytest.raises(OpenbookError, match="is a folder; give output the name of a file"):
        check_output_file(path, [], overwrite=True)
    with pytest.raises(OpenbookError, match=r"current folder|is a folder|exists"):
        check_output_folder(path, [], overwrite=True, mark="config.json")


def test_a_folder_with_an_input_is_not_replaced(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(OpenbookError, match="holds the input"):
        check_output_folder(tmp_path, [tmp_path / "it.openbook"], overwrite=True, mark="config.json")


def test_names_of_models(tmp_path):
    assert with_model_suffix(Path("novel.v1")) == Path("novel.v1.openbook")
    assert with_model_suffix(Path("a.openbook")) == Path("a.openbook")
    assert default_model_path(Path("novel.v1.txt")) == Path("novel.v1.openbook")
    (tmp_path / "Qwen2.5-0.5B").mkdir()
    assert default_model_path(tmp_path / "Qwen2.5-0.5B") == Path("Qwen2.5-0.5B.openbook")
    assert default_model_path(Path("books/*.txt")) == Path("model.openbook")


def test_names_that_are_too_long_are_refused_first(tmp_path):
    check_new_file(tmp_path / ("x" * 246), longest_suffix=".training")
    for name in ("x" * 250, "灯" * 82 + "12345678"):
        with pytest.raises(OpenbookError, match=r"this name is too long; give output one that is (4|8) bytes shorter"):
            check_new_file(tmp_path / name, longest_suffix=".training")


def test_a_folder_that_cannot_be_written_is_refused_first(tmp_path, monkeypatch):
    def refuse(**options):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with pytest.raises(OpenbookError, match=r"a.openbook: nothing can be written to .* \(Read-only file system\)"):
        check_new_file(tmp_path / "a.openbook")
    assert not list(tmp_path.iterdir())
