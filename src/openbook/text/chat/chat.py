"""Chat templates: a conversation as the text that a model was trained to read.

A template is a program of whoever made the model. It runs in Jinja's sandbox, in a process of its own that may take
only so much time, memory and output, and is ended if it does not keep to that.
"""

import json
import secrets
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as LateError
from typing import IO, Any

from openbook.errors import OpenbookError
from openbook.text.corpus.printable import excerpt
from openbook.text.tokenizer.special_tokens import SpecialTokens
from openbook.text.tokenizer.tokenizer import Tokenizer

Message = Mapping[str, Any]
"""`role` (system, user, assistant …), `content`, and whatever else a template knows."""

SECONDS = 5.0
"""How long a template may take, for one conversation."""
START = 30.0
"""How long its process may take to start, on a busy machine."""
LONGEST = 8_000_000
"""The most characters that a conversation may have, before and after."""


class ChatTemplate:
    """A chat template. Safe to share between threads; its process starts when it is first needed."""

    def __init__(self, template: str, names: Mapping[str, str], seconds: float = SECONDS) -> None:
        """`names` are variables of the template: bos_token, eos_token …, see `token_names`."""
        self._template, self._names, self._seconds = template, dict(names), seconds
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def render(self, messages: Sequence[Message], *, answer_next: bool = True, **variables: Any) -> str:
        """The conversation as text.

        Args:
            messages: in their order.
            answer_next: whether the text ends where the model's answer begins.
            variables: more of them for the template, such as `tools`.

        Raises:
            OpenbookError: the template takes too long, writes too much, does what the sandbox forbids, or refuses the
                conversation; the message says which.
        """
        values = {"messages": list(messages), "tools": None, "documents": None, "add_generation_prompt": answer_next}
        asked = json.dumps({"variables": {**self._names, **values, **variables}}).encode()
        if len(asked) > LONGEST:
            raise OpenbookError(f"the conversation has {len(asked):,} bytes; {LONGEST:,} are allowed")
        with self._lock:
            return self._ask(asked)

    def close(self) -> None:
        """End the process; it starts again when it is needed."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()
            process.wait()

    def __del__(self) -> None:
        self.close()

    def _ask(self, asked: bytes) -> str:
        try:
            reply = self._exchange(asked)
        except BaseException as error:  # also Ctrl-C: a process in the middle of an answer is of no more use
            self.close()
            if isinstance(error, LateError):
                raise OpenbookError(
                    f"the chat template takes more than {self._seconds:g} seconds; answer without it (--plain)"
                ) from None
            if isinstance(error, OSError | EOFError | ValueError):
                raise OpenbookError(
                    "the chat template takes more memory than it may, or ends its process; answer without it (--plain)"
                ) from None
            raise
        if "text" in reply:
            return str(reply["text"])
        raise OpenbookError(f"the chat template refuses the conversation: {excerpt(str(reply.get('error')), 300)}")

    def _exchange(self, asked: bytes) -> dict[str, Any]:
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "openbook.text.chat.chat_process"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for us
            )
            self._converse(json.dumps({"template": self._template}).encode(), START)
        return self._converse(asked, self._seconds)

    def _converse(self, asked: bytes, seconds: float) -> dict[str, Any]:
        process = self._process
        assert process is not None and process.stdin is not None and process.stdout is not None
        future: Future[bytes] = Future()
        threading.Thread(target=_transfer, args=(process.stdin, process.stdout, asked, future), daemon=True).start()
        reply = json.loads(future.result(seconds))
        if not isinstance(reply, dict):
            raise ValueError
        return reply


def _transfer(to: IO[bytes], back: IO[bytes], asked: bytes, future: "Future[bytes]") -> None:
    """Write a line, read a line; a thread does it, so that whoever waits can stop waiting."""
    try:
        to.write(asked + b"\n")
        to.flush()
        line = back.readline(8 * LONGEST)
        if not line.endswith(b"\n"):
            raise EOFError
        future.set_result(line)
    except BaseException as error:
        future.set_exception(error)


def token_names(tokenizer: Tokenizer) -> dict[str, str]:
    """The variables of a template that name special tokens."""
    special: SpecialTokens = tokenizer.special
    roles = {
        "bos_token": special.beginning,
        "eos_token": special.end[0],
        "pad_token": special.padding,
        "unk_token": special.unknown,
        "sep_token": special.separator,
    }
    return {
        role: tokenizer.token_bytes(number).decode("utf-8", "replace")
        for role, number in roles.items()
        if number is not None
    }


class Chat:
    """A tokenizer with the chat template of its model: conversations as token ids."""

    def __init__(self, tokenizer: Tokenizer, template: str, seconds: float = SECONDS) -> None:
        """The template is not looked at before it is needed."""
        self.tokenizer = tokenizer
        self.template = ChatTemplate(template, token_names(tokenizer), seconds)

    def encode(self, messages: Sequence[Message], *, answer_next: bool = True, **variables: Any) -> list[int]:
        """Token ids of a conversation. Special tokens are those that the template writes: what people wrote is text.

        Raises OpenbookError as `ChatTemplate.render`.
        """
        text, marked = self.text(messages, answer_next=answer_next, **variables)
        return self.tokenizer.disguise.encode(text) if marked else self.tokenizer.encode(text, allow_special=True)

    def template_places(self, prompt: str) -> set[int]:
        """Which tokens of `encode` the template wrote, where a user's message is the prompt alone.

        Raises OpenbookError as `ChatTemplate.render`.
        """
        text, marked = self.text([{"role": "user", "content": prompt}])
        unlikely = secrets.token_hex(16)
        before, _, after = self.text([{"role": "user", "content": unlikely}])[0].partition(unlikely)
        reader = self.tokenizer.disguise if marked else self.tokenizer
        _, starts = reader.encode_with_starts(text)
        ends = [max(end, start + 1) for start, end in zip(starts, [*starts[1:], len(text)], strict=True)]
        own = range(len(before), len(text) - len(after))
        return {place for place, span in enumerate(zip(starts, ends, strict=True)) if not _meet(span, own)}

    def text(self, messages: Sequence[Message], *, answer_next: bool = True, **variables: Any) -> tuple[str, bool]:
        """The conversation as text, and whether it has marks in place of special tokens that people spelled."""
        given: dict[str, Any] = {"messages": list(messages), **variables}
        spelled = any(name in each for each in _texts(given) for name in self.tokenizer.special_ids)
        if spelled:
            given = _changed(given, self.tokenizer.disguise.mark)
        return self.template.render(answer_next=answer_next, **given), spelled


def _meet(span: tuple[int, int], own: range) -> bool:
    return span[0] < own.stop and span[1] > own.start


def _texts(value: Any) -> list[str]:
    """All texts in plain data, but for the keys of tables."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, Mapping):
        value = list(value.values())
    return [text for each in value for text in _texts(each)] if isinstance(value, list | tuple) else []


def _changed(value: Any, change: Any) -> Any:
    """The same data with every text changed, but for the keys of tables."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {key: _changed(item, change) for key, item in value.items()}
    return [_changed(each, change) for each in value] if isinstance(value, list | tuple) else value
