"""Arrays that grow on disk: what was saved is found again, whatever was interrupted or damaged is not trusted."""

import numpy as np
import pytest

from openbook.training.data import token_files
from openbook.training.data.token_files import TokenFiles, flat, offsets

DTYPES = {"tokens": "<u2", "lengths": "<u4"}


def opened(folder, identity="this"):
    return TokenFiles(folder / "train", identity, DTYPES, ["pairs"])


def extend(files, number):
    files.extend({"tokens": np.full(number, number), "lengths": np.array([number])}, {"pairs": 1})


def content(files):
    return files["tokens"].tolist(), files["lengths"].tolist(), files.counts["pairs"]


def test_parts_follow_one_another_and_are_found_again(tmp_path):
    files = opened(tmp_path)
    assert content(files) == ([], [], 0)
    extend(files, 2)
    extend(opened(tmp_path), 3)
    assert content(opened(tmp_path)) == ([2, 2, 3, 3, 3], [2, 3], 2)
    assert isinstance(opened(tmp_path)["tokens"], np.memmap)
    assert (tmp_path / "train.tokens").stat().st_size == 10


@pytest.mark.parametrize("call", [1, 2, 3])
def test_what_was_written_after_the_last_save_is_cut_off(tmp_path, monkeypatch, call):
    """Two arrays are appended, then the state is saved; it ends at one of the three."""
    extend(opened(tmp_path), 2)
    calls = []

    def interrupted(real):
        def function(*arguments):
            calls.append(arguments)
            if len(calls) == call:
                raise KeyboardInterrupt
            return real(*arguments)

        return function

    with monkeypatch.context() as patch:
        patch.setattr(TokenFiles, "_append", interrupted(TokenFiles._append))
        patch.setattr(token_files, "write_json", interrupted(token_files.write_json))
        with pytest.raises(KeyboardInterrupt):
            extend(opened(tmp_path), 3)
    assert content(opened(tmp_path)) == ([2, 2], [2], 1)
    extend(opened(tmp_path), 4)
    assert content(opened(tmp_path)) == ([2, 2, 4, 4, 4, 4], [2, 4], 2)


@pytest.mark.parametrize("damage", ["identity", "short", "gone", "not JSON", "a list", "no sizes"])
def test_work_of_another_kind_or_damaged_starts_anew(tmp_path, damage):
    extend(opened(tmp_path), 2)
    state = tmp_path / "train.json"
    if damage == "short":
        (tmp_path / "train.lengths").write_bytes(b"\0")
    elif damage == "gone":
        (tmp_path / "train.tokens").unlink()
    elif damage != "identity":
        state.write_text({"not JSON": "{", "a list": "[]", "no sizes": '{"identity": "this"}'}[damage])
    files = opened(tmp_path, "other" if damage == "identity" else "this")
    assert content(files) == ([], [], 0)
    assert (tmp_path / "train.lengths").stat().st_size == 0


def test_offsets_are_where_sequences_start():
    assert offsets(np.array([2, 0, 3], np.uint32)).tolist() == [0, 2, 2, 5]
    assert offsets(np.array([])).tolist() == [0]
    assert flat([[1, 2], [], [3]]).tolist() == [1, 2, 3]
