"""Special tokens under secret names, so that text cannot spell one.

Two cases need this. A vocabulary may find a special token in any text: a unigram model takes "</s>" for one of its
pieces. And in a conversation that a template wrote, the text of people stands between special tokens that the template
means. A second tokenizer, with the same ids but names that nobody can guess, tells the two apart.
"""

import json
import re
import secrets
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

import tokenizers

from openbook.text.tokenizer.panics import panics_named


class SpecialTokenEscaping:
    """A tokenizer with the same ids whose special tokens have secret names."""

    def __init__(self, content: str, names: Mapping[str, int]) -> None:
        """`content` is a tokenizer.json, `names` are its special tokens."""
        secret = secrets.token_hex(12)
        self._secret_names = {name: f"\uf8ff{secret}{number}\uf8ff" for number, name in enumerate(names)}
        self._escapes = {name: f"\ue000{int(secret, 16)}{number}\ue001" for number, name in enumerate(names)}
        self._escaped_names = {escape: name for name, escape in self._escapes.items()}
        self._content = content

    @cached_property
    def text_backend(self) -> tokenizers.Tokenizer:
        """Encodes text in which nothing is special."""
        backend = tokenizers.Tokenizer.from_str(self._renamed)
        backend.encode_special_tokens = True
        return backend

    @cached_property
    def _special_backend(self) -> tokenizers.Tokenizer:
        return tokenizers.Tokenizer.from_str(self._renamed)

    @cached_property
    def _name_pattern(self) -> re.Pattern[str]:
        return _any_of(sorted(self._secret_names, key=len, reverse=True))

    @cached_property
    def _name_or_escape_pattern(self) -> re.Pattern[str]:
        return re.compile(f"{_any_of(self._escaped_names).pattern}|{self._name_pattern.pattern}")

    def escape(self, text: str) -> str:
        """The text with an escape in place of each name of a special token."""
        return self._name_pattern.sub(lambda found: self._escapes[found[0]], text)

    def encode(self, text: str) -> list[int]:
        """Token ids of a text in which names of special tokens mean those tokens, and escapes mean names as text."""
        return self.encode_with_starts(text)[0]

    def encode_with_starts(self, text: str) -> tuple[list[int], list[int]]:
        """The same, and the character offset in `text` at which each token starts."""
        replaced, offsets = [], [(0, 0)]
        position = length = 0
        for found in self._name_or_escape_pattern.finditer(text):
            new = self._secret_names.get(found[0]) or self._escaped_names[found[0]]
            replaced += [text[position : found.start()], new]
            length += found.start() - position + len(new)
            position = found.end()
            offsets += [(length - len(new), found.start()), (length, position)]
        with panics_named():
            encoding = self._special_backend.encode("".join([*replaced, text[position:]]), add_special_tokens=False)
        reached = [start for start, _ in offsets]
        starts = []
        for start, _ in encoding.offsets:
            index = bisect_right(reached, start) - 1
            inside = index % 2 == 1  # within a name, which has another length here
            starts.append(offsets[index][1] + (0 if inside else start - offsets[index][0]))
        return encoding.ids, starts

    @cached_property
    def _renamed(self) -> str:
        """The tokenizer.json with the secret names."""
        content = json.loads(self._content)
        for token in content["added_tokens"]:
            token["content"] = self._secret_names.get(token["content"], token["content"])
        content["post_processor"] = None
        model = content["model"]
        model["vocab"] = self._renamed_vocabulary(model["vocab"])
        if model.get("unk_token") in self._secret_names:
            model["unk_token"] = self._secret_names[model["unk_token"]]
        if "merges" in model:
            model["merges"] = [merge for merge in model["merges"] if not self._makes_special(merge)]
        return json.dumps(content, ensure_ascii=False)

    def _renamed_vocabulary(self, vocabulary: Any) -> Any:
        if isinstance(vocabulary, dict):
            return {self._secret_names.get(token, token): number for token, number in vocabulary.items()}
        return [[self._secret_names.get(token, token), score] for token, score in vocabulary]

    def _makes_special(self, merge: str | list[str]) -> bool:
        left, right = merge.split(" ") if isinstance(merge, str) else merge
        return not self._secret_names.keys().isdisjoint((left, right, left + right))


def _any_of(texts: Iterable[str]) -> re.Pattern[str]:
    """Matches any of the texts; nothing if there are none."""
    return re.compile("|".join(map(re.escape, texts)) or r"(?!)")
