"""Chat templates: a conversation as the text that a model was trained to read.

A template is a program by whoever made the model. It runs in Jinja's sandbox, in a process of its own with limits on
time, memory and output, which is killed if it exceeds them.
"""

import json
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import IO, Any

from openbook.errors import OpenbookError, SettingError
from openbook.text.printable import excerpt

Message = Mapping[str, Any]
"""`role` (system, user, assistant …), `content`, and whatever else a template knows."""

RENDER_SECONDS = 5.0
"""For one conversation; for the first one with compiling the template."""
START_SECONDS = 30.0
"""For the process to start, on a busy machine."""
MAXIMUM_CHARACTERS = 8_000_000
"""Of a conversation, before and after."""


class ChatTemplate:
    """A chat template. Safe to share between threads; its process starts at the first call."""

    def __init__(
        self,
        template: str,
        variables: Mapping[str, str],
        seconds: float = RENDER_SECONDS,
        process: "subprocess.Popen[bytes] | None" = None,
    ) -> None:
        """`variables` name special tokens: bos_token, eos_token …; `process` is a new one of `start_process`."""
        self._template, self._variables, self._seconds = template, dict(variables), seconds
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._given = process

    def render(self, messages: Sequence[Message], *, add_generation_prompt: bool = True, **variables: Any) -> str:
        """The conversation as text.

        Args:
            messages: in order.
            add_generation_prompt: end the text where the model's answer begins.
            variables: more of them for the template, such as `tools`.

        Raises:
            OpenbookError: the template takes too long, writes too much, does what the sandbox forbids, or refuses the
                conversation; the message says which.
        """
        values = {
            "messages": list(messages),
            "tools": None,
            "documents": None,
            "add_generation_prompt": add_generation_prompt,
        }
        request = json.dumps({"variables": {**self._variables, **values, **variables}}).encode()
        if len(request) > MAXIMUM_CHARACTERS:
            raise OpenbookError(f"the conversation has {len(request):,} bytes; {MAXIMUM_CHARACTERS:,} are allowed")
        with self._lock:
            return str(self._answer([request])["text"])

    def check(self) -> None:
        """Compile the template.

        Raises:
            OpenbookError: it is no Jinja template, or takes too long or too much memory.
        """
        with self._lock:
            self._answer([b"{}"])

    def close(self) -> None:
        """End the process; the next call starts it again."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()
            process.wait()

    def __del__(self) -> None:
        self.close()

    def _answer(self, requests: list[bytes]) -> dict[str, Any]:
        """The reply to the last of the requests, or to the template itself."""
        try:
            if self._process is None:
                self._start()
                requests = [json.dumps({"template": self._template}).encode(), *requests]
            reply = self._exchange(requests, self._seconds)
        except BaseException as error:  # also Ctrl-C: after it, the process would answer the wrong request
            self.close()
            if isinstance(error, FutureTimeoutError):
                raise SettingError(
                    f"the chat template takes more than {self._seconds:g} seconds; answer without it (`raw`)"
                ) from None
            if isinstance(error, OSError | EOFError | ValueError):
                raise SettingError(
                    "the chat template uses too much memory, or ends its process; answer without it (`raw`)"
                ) from None
            raise
        if "error" in reply:
            what = "cannot be compiled" if reply.get("compiling") else "refuses the conversation"
            raise OpenbookError(f"the chat template {what}: {excerpt(str(reply['error']), 300)}")
        return reply

    def _start(self) -> None:
        self._process, self._given = self._given or start_process(), None
        self._exchange([b"{}"], START_SECONDS)

    def _exchange(self, requests: Sequence[bytes], seconds: float) -> dict[str, Any]:
        """The reply to the last of the requests; it and those before must come within so many seconds together."""
        process = self._process
        assert process is not None and process.stdin is not None and process.stdout is not None
        future: Future[bytes] = Future()
        threading.Thread(target=_transfer, args=(process.stdin, process.stdout, requests, future), daemon=True).start()
        reply = json.loads(future.result(seconds))
        if not isinstance(reply, dict):
            raise ValueError
        return reply


def start_process() -> "subprocess.Popen[bytes]":
    """A process for one `ChatTemplate`. It ends when its standard input does."""
    return subprocess.Popen(
        [sys.executable, "-m", "openbook.text.chat.template_process"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is for us
    )


def _transfer(to: IO[bytes], back: IO[bytes], requests: Sequence[bytes], future: "Future[bytes]") -> None:
    """Write lines and read one for each, in a thread, so that the caller can stop waiting."""
    try:
        line = b""
        for request in requests:
            to.write(request + b"\n")
            to.flush()
            line = back.readline(8 * MAXIMUM_CHARACTERS)
            if not line.endswith(b"\n"):
                raise EOFError
        future.set_result(line)
    except BaseException as error:
        future.set_exception(error)
