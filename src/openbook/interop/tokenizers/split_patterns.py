"""Regular expressions that split text into words: published ones, and a check on those of untrusted files."""

import re
import time
from collections.abc import Iterator
from typing import Any

from tokenizers import Regex, pre_tokenizers

from openbook.errors import OpenbookError
from openbook.text.printable import excerpt

MAXIMUM_PATTERN = 20_000
_TRIAL_SECONDS = 0.5
_TRIAL_LENGTHS = (8, 16, 32, 64, 128)

_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
R50K_PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"

TIKTOKEN_ENCODINGS: dict[str, tuple[str, dict[str, int]]] = {
    "r50k_base": (R50K_PATTERN, {"<|endoftext|>": 50256}),
    "p50k_base": (R50K_PATTERN, {"<|endoftext|>": 50256}),
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
"""Name of an encoding → its pattern and special tokens; a ranks file has neither."""


def check_patterns(content: Any) -> None:
    """Refuse patterns in a tokenizer.json that take too long on a short text (nested repetition).

    Each trial ends, since the library gives a search up after ten million steps. The texts grow, so a pattern whose
    time explodes is found while it is still quick.

    Raises:
        OpenbookError: names the pattern.
    """
    for pattern in set(_find_patterns(content)):
        if len(pattern) > MAXIMUM_PATTERN:
            raise OpenbookError(f"a pattern has {len(pattern):,} characters; {MAXIMUM_PATTERN:,} are allowed")
        split = _compile(pattern)
        begun = time.perf_counter()
        for length in _TRIAL_LENGTHS:
            for text in _trial_texts(pattern, length):
                _split(split, text, pattern)
                if time.perf_counter() - begun > _TRIAL_SECONDS:
                    raise OpenbookError(f"the pattern {excerpt(pattern)} takes too long on {length} characters")
            begun = time.perf_counter()


def _find_patterns(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(pattern := value.get("Regex"), str):
            yield pattern
        for key, item in value.items():
            if key not in ("vocab", "merges", "added_tokens"):
                yield from _find_patterns(item)
    elif isinstance(value, list):
        for item in value:
            yield from _find_patterns(item)


def _trial_texts(pattern: str, length: int) -> Iterator[str]:
    """Runs of one character, alone and before another, for characters that the pattern contains."""
    contained = [character for character in dict.fromkeys(re.sub(r"\\[pP]\{\^?\w+\}|\\.", "", pattern)) if character]
    for character in [*"aA1 \n!é", *contained[:24]]:
        yield character * length
        yield character * length + ("!" if character != "!" else "a")


def _compile(pattern: str) -> pre_tokenizers.Split:
    try:
        return pre_tokenizers.Split(Regex(pattern), "isolated")
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        raise OpenbookError(
            f"the pattern {excerpt(pattern)} is not a regular expression ({str(error)[:100]})"
        ) from None


def _split(split: pre_tokenizers.Split, text: str, pattern: str) -> None:
    try:
        split.pre_tokenize_str(text)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:  # the library panics when it gives up
        raise OpenbookError(f"the pattern {excerpt(pattern)} takes too long on {len(text)} characters") from None
