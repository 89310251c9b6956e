"""A conversation with a model in the terminal."""

import contextlib
import sys
from typing import Any

from openbook.errors import OpenbookError
from openbook.model import Model
from openbook.text.chat.template import Message

PROMPT = "> "


def talk(model: Model, system: str | None = None, **settings: Any) -> None:
    """Read lines, answer each with all that was said before in mind, until the input ends.

    Ctrl-C stops an answer; what was said of it stays in the conversation. At the prompt it ends the conversation.

    Args:
        model: has a chat template.
        system: what the model is told at first.
        settings: as for `Sampling`.

    Raises:
        OpenbookError: the model has no chat template, or that refuses the conversation.
    """
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  (arrow keys and history in `input`)
    messages: list[Message] = [] if system is None else [{"role": "system", "content": system}]
    model.reply([*messages, {"role": "user", "content": "Hello"}], **settings).close()  # faults are told at once
    while (line := _read()) is not None:
        if not line.strip():
            continue
        messages.append({"role": "user", "content": line})
        said = []
        pieces = model.reply(messages, **settings)
        try:
            for piece in pieces:
                said.append(piece.text)
                print(piece.text, end="", flush=True)
        except KeyboardInterrupt:
            print(" …", end="")
        finally:
            pieces.close()
        print(flush=True)
        messages.append({"role": "assistant", "content": "".join(said)})


def _read() -> str | None:
    """The next line; None where there is none, or Ctrl-C is pressed."""
    try:
        return input(PROMPT if sys.stdin.isatty() else "")
    except (EOFError, KeyboardInterrupt):
        print()
        return None


def refuse_beside_chat(**given: object) -> None:
    """What has no meaning in a conversation is refused, not passed over."""
    for name, value in given.items():
        if value:
            option = "prompts" if name == "prompts" else f"--{name.replace('_', '-')}"
            raise OpenbookError(f"--chat: takes no {option}; what you write is read line by line")
