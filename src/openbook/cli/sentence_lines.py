"""Lines of sentences from a file or a pipe, and their translations as lines again: as many, in the same order."""

import json
from collections.abc import Iterator
from typing import Any, BinaryIO

from openbook.generation.translation import Sentence, Translation

LONGEST_LINE = 1 << 20
"""Bytes; a longer line is passed over without being held in memory."""


def read_sentences(file: BinaryIO) -> Iterator[Sentence]:
    """A sentence a line; what is no UTF-8 or far too long has a problem instead, and takes no other line with it."""
    while line := file.readline(LONGEST_LINE):
        problem = None
        if len(line) == LONGEST_LINE and not line.endswith(b"\n"):
            problem = f"it is longer than {LONGEST_LINE:,} bytes"
            while (rest := file.readline(LONGEST_LINE)) and not rest.endswith(b"\n"):
                pass
            line = line[:100]
        try:
            yield Sentence(line.decode("utf-8").rstrip("\r\n"), problem)
        except UnicodeDecodeError as error:
            text = line.decode("utf-8", "replace").rstrip("\r\n")
            yield Sentence(text, problem or f"it is not UTF-8 at byte {error.start + 1}")


def as_line(translation: Translation, number: int, n_best: int) -> str:
    """One line; for n-best one each, with the number of the sentence, the score and the text between tabs."""
    if n_best == 1:
        return " ".join(translation.text.splitlines())
    return "\n".join(
        f"{number}\t{each.hypothesis.score:.4f}\t{' '.join(each.text.splitlines())}" for each in translation.candidates
    )


def as_json(translation: Translation) -> str:
    """One JSON object: source, translation, score and all candidates; or source and problem."""
    facts: dict[str, Any] = {"source": translation.source}
    if translation.problem is not None:
        return json.dumps(facts | {"translation": "", "problem": translation.problem}, ensure_ascii=False)
    facts["translation"] = translation.text
    facts["candidates"] = [
        {
            "text": each.text,
            "score": each.hypothesis.score,
            "log_probability": each.hypothesis.log_probability,
            "tokens": list(each.hypothesis.tokens),
            "finish": each.hypothesis.finish,
        }
        for each in translation.candidates
    ]
    return json.dumps(facts, ensure_ascii=False)
