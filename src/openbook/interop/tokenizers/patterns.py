"""Regular expressions that split text into words: those with a name, and a check on those from strangers."""

import re
import time
from collections.abc import Iterator
from typing import Any

from tokenizers import Regex, pre_tokenizers

from openbook.errors import OpenbookError
from openbook.text.corpus.printable import excerpt

LONGEST_PATTERN = 20_000
_SECONDS = 0.5
_LENGTHS = (8, 16, 32, 64, 128)

_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
FIRST = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"

BY_NAME: dict[str, tuple[str, dict[str, int]]] = {
    "r50k_base": (FIRST, {"<|endoftext|>": 50256}),
    "p50k_base": (FIRST, {"<|endoftext|>": 50256}),
    "cl100k_base": (
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|"
        r"\s+(?!\S)|\s+",
        {
            "<|endoftext|>": 100257,
            "<|fim_prefix|>": 100258,
            "<|fim_middle|>": 100259,
            "<|fim_suffix|>": 100260,
            "<|endofprompt|>": 100276,
        },
    ),
    "o200k_base": (
        rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+{_CONTRACTIONS}?|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*"
        rf"{_CONTRACTIONS}?|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        {"<|endoftext|>": 199999, "<|endofprompt|>": 200018},
    ),
}
"""Pattern and special tokens that go with the name of a file of ranks."""


def check_patterns(content: Any) -> None:
    """Refuse patterns anywhere in a tokenizer.json that take too long on a short text (nested repetition).

    The library gives a search up after ten million steps, so each trial ends; lengths double, so a pattern that grows
    out of hand is found while it is still quick.

    Raises OpenbookError with the pattern.
    """
    for pattern in set(_patterns(content)):
        if len(pattern) > LONGEST_PATTERN:
            raise OpenbookError(f"a pattern has {len(pattern):,} characters; {LONGEST_PATTERN:,} are allowed")
        split = _compiled(pattern)
        begun = time.perf_counter()
        for length in _LENGTHS:
            for text in _trials(pattern, length):
                _try(split, text, pattern)
                if time.perf_counter() - begun > _SECONDS:
                    raise OpenbookError(f"the pattern {excerpt(pattern)} takes too long on {length} characters")
            begun = time.perf_counter()


def _patterns(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(pattern := value.get("Regex"), str):
            yield pattern
        for key, item in value.items():
            if key not in ("vocab", "merges", "added_tokens"):
                yield from _patterns(item)
    elif isinstance(value, list):
        for item in value:
            yield from _patterns(item)


def _trials(pattern: str, length: int) -> Iterator[str]:
    """Runs of one character, and of that character before another, of those that the pattern speaks of."""
    spoken = [character for character in dict.fromkeys(re.sub(r"\\[pP]\{\^?\w+\}|\\.", "", pattern)) if character]
    for character in [*"aA1 \n!é", *spoken[:24]]:
        yield character * length
        yield character * length + ("!" if character != "!" else "a")


def _compiled(pattern: str) -> pre_tokenizers.Split:
    try:
        return pre_tokenizers.Split(Regex(pattern), "isolated")
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        raise OpenbookError(f"the pattern {excerpt(pattern)} is none ({str(error)[:100]})") from None


def _try(split: pre_tokenizers.Split, text: str, pattern: str) -> None:
    try:
        split.pre_tokenize_str(text)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:  # the library panics when it gives up
        raise OpenbookError(f"the pattern {excerpt(pattern)} takes too long on {len(text)} characters") from None
