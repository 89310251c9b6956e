"""What `openbook ask` reads and prints: prompts and their answers, or sentences and their translations."""

import contextlib
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from openbook.cli.sentence_lines import as_json, as_line, read_sentences
from openbook.errors import OpenbookError
from openbook.generation.scheduling import arriving
from openbook.generation.text import Candidate, Piece
from openbook.generation.translation import Sentence, Translator
from openbook.text.tokenizer.tokenizer import Tokenizer


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


def print_answers(tokenizer: Tokenizer, prompts: Sequence[str], pieces: Iterator[Piece], probabilities: bool) -> None:
    """Print answers as they come: the first that is not finished streams, those after it wait for their turn."""
    waiting: list[list[str]] = [[] for _ in prompts]
    finished = [False] * len(prompts)
    current = 0
    if len(prompts) > 1:
        print(f"> {prompts[0]}")
    for piece in pieces:
        shown = probability_line(tokenizer, piece) if probabilities else piece.text
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


def probability_line(tokenizer: Tokenizer, piece: Piece) -> str:
    """A chosen token with its probability, then the likeliest others."""

    def named(token: int) -> str:
        return json.dumps(tokenizer.token_text(token), ensure_ascii=False)

    chosen = piece.chosen
    others = "  ".join(f"{named(each.token)} {each.probability:.3f}" for each in chosen.runners_up)
    return f"{named(chosen.token):<16} {chosen.probability:.3f}   {others}\n"


def print_json_answers(prompts: Sequence[str], pieces: Iterator[Piece]) -> None:
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


def translate_lines(
    translator: Translator, sentences: Sequence[str] | None, file: Path | None, *, json_lines: bool, n_best: int
) -> bool:
    """Print the translation of each sentence or line as soon as those before it are there.

    Reports what is skipped; gives whether all was.
    """
    if sentences and file:
        raise OpenbookError("give sentences or --file, not both")
    if not sentences and file is None and sys.stdin.isatty():
        raise OpenbookError('there is no sentence; write it behind the model: openbook ask MODEL "Good morning."')
    number = skipped = 0
    try:
        with contextlib.ExitStack() as stack:
            windows: Any = [[Sentence(sentence) for sentence in sentences or ()]]
            if not sentences:
                opened = sys.stdin.buffer if file is None or str(file) == "-" else stack.enter_context(file.open("rb"))
                windows = arriving(read_sentences(opened))
            for number, translation in enumerate(translator(windows), start=1):
                if translation.problem is not None:
                    skipped += 1
                    print(f"openbook: line {number} is skipped: {translation.problem}", file=sys.stderr)
                shown = as_json(translation) if json_lines else as_line(translation, number, n_best)
                print(shown, flush=True)
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        raise OpenbookError(f"{file or 'standard input'}: cannot be read ({error.strerror})") from None
    if not number:
        raise OpenbookError(f"{file or 'standard input'}: has no sentences; write one on each line")
    if skipped:
        print(f"openbook: {skipped:,} of {number:,} lines skipped; they are left empty", file=sys.stderr)
    return skipped == number


def print_searched(prompts: Sequence[str], found: Sequence[Sequence[Candidate]], *, json_lines: bool) -> None:
    """Print the likeliest continuations of each prompt, with scores if there are several."""
    for prompt, candidates in zip(prompts, found, strict=True):
        if json_lines:
            facts = [
                {"text": each.text, "score": each.hypothesis.score, "finish": each.hypothesis.finish}
                for each in candidates
            ]
            print(json.dumps({"prompt": prompt, "candidates": facts}, ensure_ascii=False))
            continue
        if len(prompts) > 1:
            print(f"> {prompt}")
        for each in candidates:
            print(f"{each.hypothesis.score:.4f}\t{each.text}" if len(candidates) > 1 else each.text)
