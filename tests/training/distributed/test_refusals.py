"""Processes that do not fit together, hang, end or run out of disk: one line, and an exit code for all."""

import signal

import pytest
from groups import command_in_group, said_in, start_commands
from training_examples import TINY, write_book

from openbook.model import load

CHOICES = TINY | {"vocab_size": 300, "steps": 6, "dropout": 0.2}


def arguments(folder, **changes):
    given = {name: value for name, value in (CHOICES | changes).items() if value is not None}
    options = [f"--{name.replace('_', '-')}={value}" for name, value in given.items()]
    return [str(folder / "book.txt"), "-o", str(folder / "it.openbook"), "--validation-fraction=0.2", *options]


@pytest.fixture
def folder(tmp_path):
    write_book(tmp_path / "book.txt", 8000)
    return tmp_path


def one_line(errors):
    """The line that was said, once, by some process."""
    lines = [line for error in errors for line in error.splitlines()]
    assert len(lines) == 1 and lines[0].startswith("openbook: "), errors
    return lines[0]


def test_the_command_in_two_processes(folder):
    codes, errors, outputs = command_in_group(2, folder, [arguments(folder)] * 2)
    assert codes == [0, 0] and errors == ["", ""]
    assert "Finished after 6 steps" in outputs[0] and outputs[1] == ""
    assert load(folder / "it.openbook", "cpu").metadata.training["steps"] == 6


def test_other_options_are_named(folder):
    codes, errors, _ = command_in_group(2, folder, [arguments(folder), arguments(folder, width=24)])
    assert codes == [1, 1]
    assert "rank 1 differs from rank 0: option width is 24 there, 16 here" in one_line(errors)
    assert not (folder / "it.openbook.training").exists()


def test_other_files_are_named(folder):
    other = folder / "other"
    other.mkdir()
    write_book(other / "book.txt", 7000)
    theirs = [str(other / "book.txt"), *arguments(folder)[1:]]
    codes, errors, _ = command_in_group(2, folder, [arguments(folder), theirs])
    assert codes == [1, 1]
    assert "rank 1 differs from rank 0: option inputs is" in one_line(errors)


def test_a_missing_file_is_told_once(folder):
    (folder / "book.txt").unlink()
    codes, errors, _ = command_in_group(2, folder, [arguments(folder)] * 2)
    assert codes == [1, 1]
    assert "book.txt" in one_line(errors)


def test_a_full_disk_of_one_process_is_named(folder):
    given = arguments(folder, width=64)
    codes, errors, _ = command_in_group(2, folder, [given] * 2, limits={1: 20_000})
    assert codes == [1, 1]
    line = one_line(errors)
    assert "rank 1: the checkpoint cannot be written (File too large)" in line


@pytest.mark.parametrize(
    ("act", "words"), [(signal.SIGSTOP, "rank 1 does not answer within 3 s"), (signal.SIGKILL, "rank 1 has ended")]
)
def test_a_process_that_hangs_or_ends_is_named(folder, act, words):
    given = [*arguments(folder), "--timeout", "3"]
    started = start_commands(3, folder, [given] * 3, doing=(1, 3, act))
    for rank in (0, 2):
        started[rank].join()
        assert started[rank].exitcode == 1
    started[1].kill()
    started[1].join()
    errors, _ = said_in(folder, 3)
    assert words in one_line(errors)
    assert (folder / "it.openbook.training").exists()
