"""A conversation with a model in the terminal."""

import contextlib
import sys
from typing import Any

from openbook.model import Model
from openbook.text.chat.template import Message
from openbook.text.output import write

PROMPT = "> "


def hold_conversation(model: Model, system_prompt: str | None = None, **settings: Any) -> None:
    """Read lines and print an answer to each, with the whole conversation in mind, until the input ends.

    Ctrl-C stops an answer; what there is of it stays in the conversation. At the prompt it ends the conversation.

    Args:
        model: has a chat template.
        system_prompt: what the model is told first.
        settings: as for `Sampling`.

    Raises:
        OpenbookError: the model has no chat template, or the template refuses the conversation.
    """
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  (arrow keys and history in `input`)
    messages: list[Message] = [] if system_prompt is None else [{"role": "system", "content": system_prompt}]
    model.reply([*messages, {"role": "user", "content": "Hello"}], **settings).close()  # raises what is wrong at once
    while (line := _read()) is not None:
        if not line.strip():
            continue
        messages.append({"role": "user", "content": line})
        answer = []
        chunks = model.reply(messages, **settings)
        try:
            for chunk in chunks:
                answer.append(chunk.text)
                write(chunk.text, end="")
        except KeyboardInterrupt:
            write(" …", end="")
        finally:
            chunks.close()
        write("")
        messages.append({"role": "assistant", "content": "".join(answer)})


def _read() -> str | None:
    """The next line; None at the end of the input, or if Ctrl-C is pressed."""
    try:
        return input(PROMPT if sys.stdin.isatty() else "")
    except (EOFError, KeyboardInterrupt):
        write("")
        return None
