"""What is no model file is named for what it is."""

import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from sample_files import small_file, tensors_of

from openbook.errors import OpenbookError
from openbook.model_file.file import load


def refusal(path: Path) -> str:
    with pytest.raises(OpenbookError) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}: ")
    return str(caught.value).removeprefix(f"{path}: ")


def test_missing_file(tmp_path: Path) -> None:
    assert refusal(tmp_path / "austen") == "there is no such file; check its name"
    (tmp_path / "austen.openbook").write_bytes(small_file())
    assert "did you mean" in refusal(tmp_path / "austen")


def test_folders(tmp_path: Path) -> None:
    assert refusal(tmp_path) == "is a folder; give a model file"
    (tmp_path / "austen.openbook").touch()
    assert "in it, such as austen.openbook" in refusal(tmp_path)
    (tmp_path / "config.json").touch()
    assert "openbook import" in refusal(tmp_path)


def test_pickles_are_refused_with_the_reason(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save(tensors_of(), path)
    assert "loading a pickle runs whatever program" in refusal(path)
    path.write_bytes(pickle.dumps({"weight": [1.0]}))
    assert "loading a pickle runs whatever program" in refusal(path)


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (b"", "is empty"),
        (b"GGUF\x03\0\0\0" + bytes(100), "openbook import"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\n", "git lfs pull"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b'{"model_type": "llama"}', "looks like JSON"),
        (b"It is a truth universally acknowledged,\nthat", "openbook train"),
        (b"\x1f\x8b\x08" + bytes(20), "unpack"),
        (bytes(100), "no model file"),
        (b"\xff" * 100, "no model file"),
        (b"\0", "no model file"),
    ],
)
def test_other_files(tmp_path: Path, start: bytes, message: str) -> None:
    path = tmp_path / "thing"
    path.write_bytes(start)
    assert message in refusal(path)


def test_safetensors_of_another_program(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    for metadata in (None, {"format": "pt"}):
        save_file(tensors_of(), path, metadata)
        assert "no openbook format number" in refusal(path)


def test_pipe_does_not_wait_for_a_writer(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    assert "is not a plain file" in refusal(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_file_that_may_not_be_read(tmp_path: Path) -> None:
    path = tmp_path / "secret.openbook"
    path.write_bytes(small_file())
    path.chmod(0)
    assert "cannot be read (Permission denied)" in refusal(path)
