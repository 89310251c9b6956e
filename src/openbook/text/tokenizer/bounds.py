"""Bounds on the tokenizer.json of a stranger, which the library would run whatever it says."""

import base64
import contextlib
import math
import re
from collections.abc import Iterable, Iterator
from typing import Any

import tokenizers

from openbook.errors import OpenbookError
from openbook.text.strict_json import read_json
from openbook.text.tokenizer.pattern_check import check_pattern

MAXIMUM_ADDED_CHARACTERS = 2_000_000
"""Of all added tokens together, since the automaton that finds them takes some eighty bytes for each. Tokenizers in use
have some 100,000."""
MAXIMUM_GROWTH = 10_000
"""Of a text, by what each step may add, multiplied."""
MAXIMUM_STEPS = 256
"""Of all parts but the model together; each takes a pass over the text."""
MAXIMUM_AFFIX = 100
"""Characters that a model puts before or after parts of words."""
MAXIMUM_WORD = 1_000
"""Characters of a word that WordPiece cuts, in a time that grows with their cube."""
MAXIMUM_STRIPPED = 100
"""Characters that a decoder takes away."""
MAXIMUM_PARTS = 8_000_000
"""Characters of all but the model, where the model comes last."""
MAXIMUM_CHARACTERS = 64_000_000
"""Of a whole file in which it does not; the largest in use have 40 million."""
MAXIMUM_INTEGER_LENGTH = 40
"""Characters; some files write 10^30 for a length without limit."""

_PARTS = ("added_tokens", "normalizer", "pre_tokenizer", "post_processor", "decoder")
_SEQUENCES = ("normalizers", "pretokenizers", "processors", "decoders")
"""Names of the lists of steps."""
_MODEL = re.compile(r',\s*"model"\s*:')
_BEGINNING = re.compile(r"\s*:\s*[\[{]")
_ESCAPE = re.compile(r"\\\\*u")

_FACTORS = {"NFC": 4, "NFD": 4, "NFKC": 18, "NFKD": 18, "Lowercase": 3, "BertNormalizer": 36, "ByteLevel": 2}
"""How many characters a step may make of one."""


def read_parts(content: str) -> dict[str, Any]:
    """A tokenizer.json without its model, which is nearly all of it and takes as long to parse as the library takes.

    Every part that is an object or a list is there, wherever it stands; the library takes no other.

    Raises:
        OpenbookError: it is no JSON object, or too long.
    """
    model = _MODEL.search(content)
    if model is not None and not _may_name_parts(content, model.end()):
        # Where a bracket closes what stands before the model, the model was not nested in anything.
        with contextlib.suppress(OpenbookError):
            return _read(content[: model.start()] + "}", MAXIMUM_PARTS)
    return _read(content, MAXIMUM_CHARACTERS)


def check_parts(parts: dict[str, Any]) -> None:
    """Refuse what would take far more time or memory than the text that it is for.

    Args:
        parts: of a tokenizer.json; its model is not looked at.

    Raises:
        OpenbookError: names what asks for too much.
    """
    listed = parts.get("added_tokens")
    check_added_tokens(
        str(each.get("content")) for each in (listed if isinstance(listed, list) else ()) if isinstance(each, dict)
    )
    steps = [step for name in _PARTS[1:] for step in _steps(parts.get(name))]
    if len(steps) > MAXIMUM_STEPS:
        raise OpenbookError(f"it has {len(steps):,} steps; {MAXIMUM_STEPS:,} are allowed")
    for pattern in {pattern for step in steps if (pattern := _regex(step)) is not None}:
        check_pattern(pattern)
    if any(step.get("pattern") == {"String": ""} for step in steps):
        raise OpenbookError("it replaces or splits at an empty text, at which the library panics")
    if math.prod(map(_growth, steps)) > MAXIMUM_GROWTH:
        raise OpenbookError(f"its replacements may make a text more than {MAXIMUM_GROWTH:,} times as long")
    for step in _steps(parts.get("decoder")):
        if any(isinstance(step.get(end), int) and step[end] > MAXIMUM_STRIPPED for end in ("start", "stop")):
            raise OpenbookError(f"its decoder strips more than {MAXIMUM_STRIPPED} characters")


def check_added_tokens(names: Iterable[str]) -> None:
    """Refuse added tokens that are too long together. Raises OpenbookError."""
    if sum(map(len, names)) > MAXIMUM_ADDED_CHARACTERS:
        raise OpenbookError(f"its added tokens have more than {MAXIMUM_ADDED_CHARACTERS:,} characters")


def check_model(model: tokenizers.models.Model) -> None:
    """Refuse a model that writes much more than a text, or cuts endless words. Raises OpenbookError."""
    for name in ("continuing_subword_prefix", "end_of_word_suffix"):
        if len(getattr(model, name, None) or "") > MAXIMUM_AFFIX:
            raise OpenbookError(f"its {name} has more than {MAXIMUM_AFFIX} characters")
    if getattr(model, "max_input_chars_per_word", 0) > MAXIMUM_WORD:
        raise OpenbookError(f"its max_input_chars_per_word is more than {MAXIMUM_WORD:,}")


def _may_name_parts(content: str, start: int) -> bool:
    """Whether a part's name and the beginning of its value follow, or a name could hide behind `\\u` escapes."""
    for name in (f'"{part}"' for part in _PARTS):
        place = start
        while (place := content.find(name, place)) >= 0:
            place += len(name)
            if _BEGINNING.match(content, place):
                return True
    return any(len(found[0]) % 2 == 0 for found in _ESCAPE.finditer(content, start))  # an odd number of backslashes


def _read(text: str, limit: int) -> dict[str, Any]:
    value = read_json("tokenizer:", text, limit, MAXIMUM_INTEGER_LENGTH)
    if not isinstance(value, dict):
        raise OpenbookError("tokenizer: should be a JSON object; save it again")
    return value


def _steps(part: Any) -> Iterator[dict[str, Any]]:
    """The steps of a part, those within sequences too.

    Raises OpenbookError for one without a type: the library would guess it.
    """
    if part is None:
        return
    if not isinstance(part, dict) or not isinstance(part.get("type"), str):
        raise OpenbookError("a step of it has no type")
    yield part
    for name in _SEQUENCES:
        for inner in value if isinstance(value := part.get(name), list) else ():
            yield from _steps(inner)


def _regex(step: dict[str, Any]) -> str | None:
    pattern = step.get("pattern")
    found = pattern.get("Regex") if isinstance(pattern, dict) else None
    return found if isinstance(found, str) else None


def _growth(step: dict[str, Any]) -> int:
    """How much longer a step may make a text."""
    match step:
        case {"type": "Replace", "content": str(content)}:
            # A regular expression may match between any two characters.
            return max(1, len(content)) + (_regex(step) is not None and content != "")
        case {"type": "Prepend", "prepend": str(before)}:
            return 1 + len(before)
        case {"type": "Precompiled", "precompiled_charsmap": str(table)}:
            return _longest_replacement(table)
        case {"type": "TemplateProcessing", "single": [*pieces]}:
            return max(1, sum(isinstance(piece, dict) and "Sequence" in piece for piece in pieces))
    return _FACTORS.get(step["type"], 1)


def _longest_replacement(table: str) -> int:
    """The longest text in a character map of SentencePiece: 4 bytes say how long its trie is, texts follow."""
    try:
        content = base64.b64decode(table, validate=True)
    except ValueError:
        return 1  # the library refuses it
    texts = content[4 + int.from_bytes(content[:4], "little") :].split(b"\0")
    return max(1, *(len(text.decode(errors="replace")) for text in texts))
