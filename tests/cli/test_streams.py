"""Broken standard streams: one line, no traceback, and never a read error for a write error."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from openbook.cli.streams import StandardError, StandardOutput
from openbook.errors import OpenbookError

FULL = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
SHELL = pytest.mark.skipif(os.name == "nt", reason="needs a POSIX shell")


def shell(command, **environment):
    """Run a line of the shell, in which `openbook` is this one."""
    line = command.replace("openbook", f"'{sys.executable}' -m openbook", 1)
    done = subprocess.run(line, shell=True, capture_output=True, text=True, env=os.environ | environment)
    return done.returncode, done.stdout, done.stderr


@SHELL
@pytest.mark.parametrize(
    ("command", "reason"),
    [
        pytest.param("openbook --version >/dev/full", "No space left on device", marks=FULL),
        pytest.param("openbook --help >/dev/full", "No space left on device", marks=FULL),
        ("openbook --version >&-", "it is closed"),
    ],
)
def test_output_that_cannot_be_written_is_said_in_one_line(command, reason):
    assert shell(command) == (1, "", f"openbook: standard output: cannot be written ({reason})\n")


@SHELL
def test_a_reader_that_has_gone_ends_the_command_silently():
    assert shell("openbook --help | true")[1:] == ("", "")


@SHELL
def test_errors_do_not_go_to_the_output_when_standard_error_is_closed():
    assert shell("openbook trian 2>&-")[:2] == (2, "")


@SHELL
def test_closed_standard_input_holds_no_prompts():
    script = (
        "from openbook.cli.streams import use_safe_streams; use_safe_streams();"
        "from openbook.cli.console import read_prompts; read_prompts(None, None)"
    )
    line = f"'{sys.executable}' -c '{script}' <&-"
    done = subprocess.run(line, shell=True, capture_output=True, text=True)
    assert done.stderr.endswith("standard input: has no prompts; write one on each line\n")


@SHELL
def test_a_closed_output_does_not_lend_its_number_to_a_file(tmp_path):
    script = (
        "import os, sys\nfrom openbook.cli.streams import use_safe_streams\nuse_safe_streams()\n"
        f"opened = os.open({str(tmp_path / 'note')!r}, os.O_CREAT | os.O_WRONLY)\nassert opened > 2, opened\n"
    )
    (tmp_path / "script.py").write_text(script)
    line = f"'{sys.executable}' {tmp_path / 'script.py'} <&- >&- 2>&-"
    assert subprocess.run(line, shell=True).returncode == 0


@FULL
def test_a_failed_write_is_not_tried_again():
    full = os.open("/dev/full", os.O_WRONLY)
    output = StandardOutput(full, "utf-8")
    output.write("some text")
    with pytest.raises(OpenbookError, match=r"standard output: cannot be written \(No space left on device\)"):
        output.flush()
    output.flush()
    errors = StandardError(os.open("/dev/full", os.O_WRONLY), "utf-8")
    print("lost", file=errors, flush=True)


def test_what_the_encoding_lacks_is_escaped(tmp_path):
    path = tmp_path / "out"
    with path.open("wb") as file:
        output = StandardOutput(os.dup(file.fileno()), "ascii")
        print("café \udc80", file=output, flush=True)
    assert path.read_bytes() == rb"caf\xe9 \udc80" + b"\n"
    assert isinstance(output, io.TextIOWrapper)
