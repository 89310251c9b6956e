"""A check on regular expressions of untrusted files, which split text into words."""

import re
import time
from collections.abc import Iterator

from tokenizers import Regex, pre_tokenizers

from openbook.errors import OpenbookError
from openbook.text.printable import excerpt

MAXIMUM_PATTERN = 20_000
_TRIAL_SECONDS = 0.5
_TRIAL_LENGTHS = (8, 16, 32, 64, 128)


def check_pattern(pattern: str) -> None:
    """Refuse a pattern that takes too long on a short text (nested repetition).

    Each trial ends, since the library gives a search up after ten million steps. The texts grow, so a pattern whose
    time explodes is found while it is still quick.

    Raises:
        OpenbookError: names the pattern.
    """
    if len(pattern) > MAXIMUM_PATTERN:
        raise OpenbookError(f"a pattern has {len(pattern):,} characters; {MAXIMUM_PATTERN:,} are allowed")
    split = _compile(pattern)
    for length in _TRIAL_LENGTHS:
        begun = time.thread_time()  # of this thread: a busy machine makes no pattern slow
        for text in _trial_texts(pattern, length):
            _split(split, text, pattern)
            if time.thread_time() - begun > _TRIAL_SECONDS:
                raise _too_long(pattern, length)


def _trial_texts(pattern: str, length: int) -> Iterator[str]:
    """Runs of one character, alone, before another, and before all that a match may need."""
    contained = [character for character in dict.fromkeys(re.sub(r"\\[pP]\{\^?\w+\}|\\.", "", pattern)) if character]
    for character in [*"aA1 \n!é", *contained[:24]]:
        yield character * length
        other = "!" if character != "!" else "a"
        yield character * length + other
        yield character * length + other + "".join(contained)
        yield character * length + "\n" + "".join(contained)


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
        raise _too_long(pattern, len(text)) from None


def _too_long(pattern: str, length: int) -> OpenbookError:
    return OpenbookError(f"the pattern {excerpt(pattern)} takes too long on {length} characters")
