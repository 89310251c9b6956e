"""The line that says a command is at work: after some quiet, never in the middle of other output."""

import os
import sys

import pytest

from openbook.cli.sign_of_life import CLEAR, QUIET_SECONDS, SignOfLife


class Screen:
    """A clock, what was shown, and the sign."""

    def __init__(self):
        self.now, self.shown = 0.0, []
        self.sign = SignOfLife("openbook ask", self.shown.append, lambda: self.now)

    def later(self, seconds):
        self.now += seconds
        self.sign.tick()


def test_it_appears_after_some_quiet_and_goes_before_the_output():
    screen = Screen()
    screen.later(QUIET_SECONDS / 2)
    assert screen.shown == []
    screen.later(2)
    screen.later(0.01)  # the same time: nothing new
    assert screen.shown == [f"{CLEAR}openbook ask … 2 s"]
    screen.sign.written("an answer\n")
    assert screen.shown[1:] == [CLEAR]
    screen.later(QUIET_SECONDS + 0.1)
    assert len(screen.shown) == 3 and screen.shown[-1].endswith("3 s")
    screen.sign.end()
    screen.later(9)
    assert screen.shown[3:] == [CLEAR]


@pytest.mark.parametrize(("text", "appears"), [("half a line", 0), ("a bar\r\x1b[2K", 1), ("a line\n", 1)])
def test_it_stays_away_from_half_a_line(text, appears):
    screen = Screen()
    screen.sign.written(text)
    screen.later(9)
    assert len(screen.shown) == appears


def test_it_waits_while_a_person_writes():
    screen = Screen()
    screen.sign.written("> ")
    with screen.sign.paused():
        screen.later(9)
    assert screen.shown == []
    screen.later(QUIET_SECONDS + 0.1)
    assert screen.shown[-1].endswith("1 s")


@pytest.mark.skipif(os.name == "nt", reason="needs a pseudo-terminal")
def test_a_terminal_sees_it_and_then_the_output():
    import pty

    script = (
        "import sys, time; from openbook.cli import main\n"
        "def slow(): time.sleep(2); print('done')\n"
        "main._run = lambda: slow() or 0\n"
        "sys.argv = ['openbook', 'ask']; main.main()"
    )
    process, terminal = pty.fork()
    if process == 0:
        os.execve(sys.executable, [sys.executable, "-c", script], os.environ | {"TERM": "xterm"})
    seen = b""
    try:
        while part := os.read(terminal, 1000):
            seen += part
    except OSError:  # how Linux ends a pseudo-terminal
        pass
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0
    text = seen.decode()
    assert "openbook ask … 1 s" in text and text.endswith(f"{CLEAR}done\r\n")
