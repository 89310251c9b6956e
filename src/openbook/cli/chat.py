"""A conversation with a model in the terminal, and the commands that steer it."""

import contextlib
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from openbook.cli.sign_of_life import waiting_for_input
from openbook.errors import OpenbookError
from openbook.model import Model
from openbook.model_file.atomic import atomic_write
from openbook.text.chat.template import Message
from openbook.text.field_errors import nearest
from openbook.text.formatting import format_count
from openbook.text.output import warn, write
from openbook.text.printable import json_line, printable_path

PROMPT = "> "
GREETING = "Write a message, or /help. Ctrl-C stops an answer; /exit or Ctrl-D ends the conversation."
COMMAND = re.compile(r"/([a-z]+)(?:\s+(.*))?", re.DOTALL)


class Conversation:
    """What was said so far, and what a line does to it.

    Args:
        model: has a chat template.
        system_prompt: what the model is told first.
        settings: as for `Sampling`.

    Raises:
        OpenbookError: the model has no chat template, or the template refuses the conversation.
    """

    def __init__(self, model: Model, system_prompt: str | None = None, **settings: Any) -> None:
        self.model, self.settings = model, settings
        self.messages = self._begun(system_prompt)
        self.ended = False

    def _begun(self, system_prompt: str | None) -> list[Message]:
        """A new conversation; raises OpenbookError if the template refuses it."""
        messages: list[Message] = [] if system_prompt is None else [{"role": "system", "content": system_prompt}]
        self.model.reply([*messages, {"role": "user", "content": "Hello"}], **self.settings).close()
        return messages

    def take(self, line: str) -> None:
        """Answer a line, or do what its command says. What cannot be done is said, and the conversation stays."""
        try:
            command = COMMAND.fullmatch(line.rstrip())
            if command is None:
                self._answer(line)
            elif command[1] in COMMANDS:
                COMMANDS[command[1]][0](self, command[2] or "")
            else:
                raise OpenbookError(
                    f"/{command[1]} is no command{nearest(command[1], list(COMMANDS))} (with a space before it, it is "
                    "a message)"
                )
        except OpenbookError as error:
            warn(str(error))

    def _answer(self, line: str) -> None:
        said: list[Message] = [*self.messages, {"role": "user", "content": line}]
        answer = []
        chunks = self.model.reply(said, **self.settings)
        try:
            for chunk in chunks:
                answer.append(chunk.text)
                write(chunk.text, end="")
        except KeyboardInterrupt:
            write(" …", end="")
        finally:
            chunks.close()
        write("")
        self.messages = [*said, {"role": "assistant", "content": "".join(answer)}]

    @property
    def system_prompt(self) -> str | None:
        """What the model was told first."""
        first = self.messages[0] if self.messages else None
        return first["content"] if first is not None and first["role"] == "system" else None

    def help(self, argument: str = "") -> None:
        """these commands"""
        for name, (_, takes, summary) in COMMANDS.items():
            write(f"  {f'/{name} {takes}'.strip():<14} {summary}")

    def exit(self, _: str = "") -> None:
        """end the conversation"""
        self.ended = True

    def reset(self, _: str = "") -> None:
        """forget what was said, but for the system prompt"""
        self.messages = self._begun(self.system_prompt)
        warn("the conversation begins again")

    def system(self, text: str) -> None:
        """begin again with this system prompt; without TEXT, show it"""
        if not text:
            warn(f"the system prompt is: {self.system_prompt}" if self.system_prompt else "there is no system prompt")
            return
        self.messages = self._begun(text)
        warn("the conversation begins again, with this system prompt")

    def save(self, name: str) -> None:
        """write the conversation to a new file, as `train --conversations` reads it"""
        if not name:
            raise OpenbookError("/save takes the name of a file, as in: /save chat.jsonl")
        path = Path(name)
        if path.exists():
            raise OpenbookError(f"{printable_path(path)}: exists; give another name")
        with atomic_write(path) as file:
            file.write(f"{json_line({'messages': self.messages})}\n".encode())
        warn(f"{printable_path(path)}: {format_count(len(self.messages), 'message')}")


Action = Callable[[Conversation, str], None]
COMMANDS: dict[str, tuple[Action, str, str]] = {
    name: (action, argument, str(action.__doc__))
    for name, action, argument in (
        ("help", Conversation.help, ""),
        ("reset", Conversation.reset, ""),
        ("system", Conversation.system, "TEXT"),
        ("save", Conversation.save, "FILE"),
        ("exit", Conversation.exit, ""),
    )
}
"""What to do, the argument, and a summary, by name."""


def hold_conversation(model: Model, system_prompt: str | None = None, **settings: Any) -> None:
    """Read lines and print an answer to each, with the whole conversation in mind, until the input or /exit ends it.

    Ctrl-C stops an answer; what there is of it stays in the conversation. At the prompt it ends the conversation.
    Arguments and errors as for `Conversation`.
    """
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  (arrow keys and history in `input`)
    conversation = Conversation(model, system_prompt, **settings)
    if sys.stdin.isatty():
        write(GREETING)
    while not conversation.ended and (line := _read()) is not None:
        if line.strip():
            conversation.take(line)


def _read() -> str | None:
    """The next line; None at the end of the input, or if Ctrl-C is pressed."""
    try:
        with waiting_for_input():
            return input(PROMPT if sys.stdin.isatty() else "")
    except (EOFError, KeyboardInterrupt):
        write("")
        return None
