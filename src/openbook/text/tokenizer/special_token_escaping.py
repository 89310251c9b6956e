"""Special tokens under secret names, so that no text can spell one.

A vocabulary may find its special tokens in any text (one that looks for the likeliest pieces takes "</s>" for a
piece). And in a conversation that was written out by a template, what a person typed stands between tokens that the
template means. Both are told apart by a tokenizer whose special tokens have names that nobody can guess.
"""

import json
import re
import secrets
from bisect import bisect_right
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import tokenizers


class Disguise:
    """A tokenizer with the same ids whose special tokens have secret names."""

    def __init__(self, content: str, names: Mapping[str, int]) -> None:
        """`content` is a tokenizer.json, `names` are its special tokens."""
        secret = secrets.token_hex(12)
        self._secret = {name: f"\uf8ff{secret}{number}\uf8ff" for number, name in enumerate(names)}
        self._marks = {name: f"\ue000{int(secret, 16)}{number}\ue001" for number, name in enumerate(names)}
        self._names = {mark: name for name, mark in self._marks.items()}
        self._content = content

    @cached_property
    def text(self) -> tokenizers.Tokenizer:
        """Encodes text, in which nothing is special."""
        backend = tokenizers.Tokenizer.from_str(self._renamed)
        backend.encode_special_tokens = True
        return backend

    @cached_property
    def _parsing(self) -> tokenizers.Tokenizer:
        return tokenizers.Tokenizer.from_str(self._renamed)

    @cached_property
    def _spelled(self) -> re.Pattern[str]:
        return re.compile("|".join(re.escape(name) for name in sorted(self._secret, key=len, reverse=True)) or r"(?!)")

    @cached_property
    def _either(self) -> re.Pattern[str]:
        return re.compile(f"{self._marked.pattern}|{self._spelled.pattern}")

    @cached_property
    def _marked(self) -> re.Pattern[str]:
        return re.compile("|".join(map(re.escape, self._names)) or r"(?!)")

    def mark(self, text: str) -> str:
        """The text with a mark in place of each name of a special token that it spells."""
        return self._spelled.sub(lambda found: self._marks[found[0]], text)

    def encode(self, text: str) -> list[int]:
        """Token ids of a text in which names of special tokens mean those tokens, and marks mean names as text."""
        return self.encode_with_starts(text)[0]

    def encode_with_starts(self, text: str) -> tuple[list[int], list[int]]:
        """The same, and where each token begins in the text."""
        hidden, moves = [], [(0, 0)]
        place = length = 0
        for found in self._either.finditer(text):
            new = self._secret.get(found[0]) or self._names[found[0]]
            hidden += [text[place : found.start()], new]
            length += found.start() - place + len(new)
            place = found.end()
            moves += [(length - len(new), found.start()), (length, place)]
        encoding = self._parsing.encode("".join([*hidden, text[place:]]), add_special_tokens=False)
        reached = [start for start, _ in moves]
        starts = []
        for start, _ in encoding.offsets:
            move = bisect_right(reached, start) - 1
            inside = move % 2 == 1  # within a name, which is longer or shorter here
            starts.append(moves[move][1] + (0 if inside else start - moves[move][0]))
        return encoding.ids, starts

    @cached_property
    def _renamed(self) -> str:
        """The tokenizer.json with the secret names."""
        content = json.loads(self._content)
        for token in content["added_tokens"]:
            token["content"] = self._secret.get(token["content"], token["content"])
        content["post_processor"] = None
        model = content["model"]
        model["vocab"] = self._renamed_vocabulary(model["vocab"])
        if model.get("unk_token") in self._secret:
            model["unk_token"] = self._secret[model["unk_token"]]
        if "merges" in model:
            model["merges"] = [merge for merge in model["merges"] if not self._makes_special(merge)]
        return json.dumps(content, ensure_ascii=False)

    def _renamed_vocabulary(self, vocabulary: Any) -> Any:
        if isinstance(vocabulary, dict):
            return {self._secret.get(token, token): number for token, number in vocabulary.items()}
        return [[self._secret.get(token, token), score] for token, score in vocabulary]

    def _makes_special(self, merge: str | list[str]) -> bool:
        left, right = merge.split(" ") if isinstance(merge, str) else merge
        return left in self._secret or right in self._secret or left + right in self._secret
