"""What `openbook ask` reads and prints for a model that continues prompts."""

import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from openbook.cli.input_lines import input_name, read_input
from openbook.errors import OpenbookError
from openbook.generation.generate import TokenProbability
from openbook.generation.text import Candidate, TextChunk
from openbook.text.printable import json_line, quoted
from openbook.text.tokenizer.tokenizer import Tokenizer


def read_prompts(prompts: Sequence[str] | None, file: Path | None, encoding: str | None = None) -> list[str]:
    """The prompts from the command line, or the lines of a file or of standard input that are not blank."""
    if prompts and file:
        raise OpenbookError("give prompts or --file, not both")
    if prompts:
        return list(prompts)
    if file is None and sys.stdin.isatty():
        raise OpenbookError('there is no prompt; give one after the model: openbook ask MODEL "Once upon"')
    name = input_name(file)
    lines: list[str] = []
    try:
        for number, line in enumerate(read_input(file, encoding), start=1):
            if not isinstance(line, str):
                raise OpenbookError(f"{name}: line {number:,} is {line.value}; name its --encoding, or mend it")
            if line.strip():
                lines.append(line)
    except OSError as error:
        raise OpenbookError(f"{name}: cannot be read ({error.strerror or error})") from None
    if not lines:
        raise OpenbookError(f"{name}: has no prompts; write one on each line")
    return lines


def as_stream(
    tokenizer: Tokenizer, prompts: Sequence[str], chunks: Iterable[TextChunk], probabilities: bool
) -> Iterator[str]:
    """The answers as they come, each under its prompt: the first unfinished one streams, later ones wait their turn."""
    waiting: list[list[str]] = [[] for _ in prompts]
    finished = [False] * len(prompts)
    current = 0
    if probabilities:
        yield f"{'token':<16} model drawn   others\n"
    if len(prompts) > 1:
        yield f"> {prompts[0]}\n"
    for chunk in chunks:
        waiting[chunk.row].append(probability_line(tokenizer, chunk) if probabilities else chunk.text)
        finished[chunk.row] = chunk.finish_reason is not None
        while current < len(prompts):
            yield "".join(waiting[current])
            waiting[current].clear()
            if not finished[current]:
                break
            yield "\n"
            current += 1
            if current < len(prompts):
                yield f"\n> {prompts[current]}\n"


def probability_line(tokenizer: Tokenizer, chunk: TextChunk) -> str:
    """A token with the model's probability and the one it was drawn with, then the most probable others."""

    def spelled(token_id: int) -> str:
        return quoted(tokenizer.token_text(token_id))

    token = chunk.token
    others = "  ".join(f"{spelled(each.token_id)} {each.probability:.3f}" for each in token.top_alternatives)
    return f"{spelled(token.token_id):<16} {token.probability:.3f} {token.sampling_probability:.3f}   {others}\n"


def as_json_lines(tokenizer: Tokenizer, prompts: Sequence[str], chunks: Iterable[TextChunk]) -> Iterator[str]:
    """One JSON object for each prompt, in order, when all are answered.

    Each token has the model's own probability and the one it was drawn with, as have the most probable others.
    """
    answers: list[dict[str, Any]] = [{"prompt": prompt, "answer": "", "tokens": []} for prompt in prompts]
    for chunk in chunks:
        answer = answers[chunk.row]
        answer["answer"] += chunk.text
        others = [_token_facts(tokenizer, each) for each in chunk.token.top_alternatives]
        answer["tokens"].append(_token_facts(tokenizer, chunk.token) | {"alternatives": others})
        if chunk.finish_reason is not None:
            answer["finish_reason"] = chunk.finish_reason
    for answer in answers:
        yield json_line(answer) + "\n"


def _token_facts(tokenizer: Tokenizer, token: TokenProbability) -> dict[str, Any]:
    return {
        "id": token.token_id,
        "text": tokenizer.token_text(token.token_id),
        "log_probability": math.log(token.probability) if token.probability > 0 else None,
        "probability": token.probability,
        "sampling_probability": token.sampling_probability,
    }


def as_n_best(
    tokenizer: Tokenizer, prompts: Sequence[str], found: Sequence[Sequence[Candidate]], as_json: bool
) -> Iterator[str]:
    """The n-best continuations of each prompt, with scores if there are several."""
    for prompt, candidates in zip(prompts, found, strict=True):
        if as_json:
            facts = [candidate_facts(tokenizer, each) for each in candidates]
            yield json_line({"prompt": prompt, "candidates": facts}) + "\n"
            continue
        if len(prompts) > 1:
            yield f"> {prompt}\n"
        for each in candidates:
            yield f"{each.hypothesis.score:.4f}\t{each.text}\n" if len(candidates) > 1 else f"{each.text}\n"


def candidate_facts(tokenizer: Tokenizer, candidate: Candidate) -> dict[str, Any]:
    """A result of a beam search, for JSON: its text, its score, its tokens."""
    hypothesis = candidate.hypothesis
    return {
        "text": candidate.text,
        "score": hypothesis.score,
        "log_probability": hypothesis.log_probability,
        "tokens": [{"id": token, "text": tokenizer.token_text(token)} for token in hypothesis.tokens],
        "finish_reason": hypothesis.finish_reason,
    }
