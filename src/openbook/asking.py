"""Prompts in, answers out, for the command `openbook ask`."""

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from openbook.errors import OpenbookError
from openbook.generation.text import Piece
from openbook.model import Model


def refuse_beside_chat(**given: object) -> None:
    """What has no meaning in a conversation is refused, not passed over."""
    for name, value in given.items():
        if value:
            option = "prompts" if name == "prompts" else f"--{name.replace('_', '-')}"
            raise OpenbookError(f"--chat: takes no {option}; what you write is read line by line")


def read_prompts(prompts: Sequence[str] | None, file: Path | None) -> list[str]:
    """The prompts from the command line, a file, or standard input."""
    if prompts and file:
        raise OpenbookError("give prompts or --file, not both")
    if prompts:
        return list(prompts)
    try:
        if file is None or str(file) == "-":
            if sys.stdin.isatty():
                raise OpenbookError('there is no prompt; write it behind the model: openbook ask MODEL "Once upon"')
            text = sys.stdin.buffer.read().decode("utf-8")
        else:
            text = file.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else f"not UTF-8 at byte {error.start:,}"
        raise OpenbookError(f"{file or 'standard input'}: cannot be read ({reason})") from None
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        raise OpenbookError(f"{file or 'standard input'}: has no prompts; write one on each line")
    return lines


def print_answers(model: Model, prompts: Sequence[str], pieces: Iterator[Piece], probabilities: bool) -> None:
    """Print answers as they come: the first that is not finished streams, those after it wait for their turn."""
    waiting: list[list[str]] = [[] for _ in prompts]
    finished = [False] * len(prompts)
    current = 0
    if len(prompts) > 1:
        print(f"> {prompts[0]}")
    for piece in pieces:
        shown = probability_line(model, piece) if probabilities else piece.text
        waiting[piece.row].append(shown)
        finished[piece.row] = piece.finish is not None
        while current < len(prompts):
            print("".join(waiting[current]), end="", flush=True)
            waiting[current].clear()
            if not finished[current]:
                break
            print(flush=True)
            current += 1
            if current < len(prompts):
                print(f"\n> {prompts[current]}")


def probability_line(model: Model, piece: Piece) -> str:
    """A chosen token with its probability, then the likeliest others."""

    def named(token: int) -> str:
        return json.dumps(model.tokenizer.token_text(token), ensure_ascii=False)

    chosen = piece.chosen
    others = "  ".join(f"{named(each.token)} {each.probability:.3f}" for each in chosen.runners_up)
    return f"{named(chosen.token):<16} {chosen.probability:.3f}   {others}\n"


def print_json_answers(model: Model, prompts: Sequence[str], pieces: Iterator[Piece]) -> None:
    """Print one JSON object a prompt, in order, when all is answered."""
    answers: list[dict[str, Any]] = [{"prompt": prompt, "answer": "", "tokens": []} for prompt in prompts]
    for piece in pieces:
        answer = answers[piece.row]
        answer["answer"] += piece.text
        answer["tokens"].append({"id": piece.chosen.token, "probability": piece.chosen.probability})
        if piece.finish is not None:
            answer["finish"] = piece.finish
    for answer in answers:
        print(json.dumps(answer, ensure_ascii=False))
