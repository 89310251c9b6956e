"""Answers of a given form: JSON, a JSON Schema, a regular expression or a grammar, by llguidance.

The grammar says before each token which ones may come; all others get no probability.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import llguidance
import numpy as np

from openbook.generation.arrays import BoolArray
from openbook.text.printable import excerpt
from openbook.text.tokenizer.tokenizer import Tokenizer
from openbook.web.serve.errors import bad_request

MAX_SCHEMA = 2**18
"""Most characters of a schema or grammar."""


@dataclass(frozen=True)
class OutputFormat:
    """The form of an answer, as llguidance writes grammars."""

    grammar: str
    param: str = "response_format"
    """The field of the request that asked for it."""

    @classmethod
    def json_object(cls, param: str = "response_format") -> "OutputFormat":
        """Any JSON object."""
        return cls.json_schema({"type": "object"}, param)

    @classmethod
    def json_schema(cls, schema: Any, param: str = "response_format") -> "OutputFormat":
        """JSON that a schema accepts.

        Raises:
            ApiError: it is no schema, or too large.
        """
        if not isinstance(schema, dict):
            raise bad_request(f"{param}: the schema is no JSON object", param)
        text = json.dumps(schema)
        if len(text) > MAX_SCHEMA:
            raise bad_request(f"{param}: the schema has more than {MAX_SCHEMA:,} characters", param)
        try:
            return cls(llguidance.LLMatcher.grammar_from_json_schema(text, defaults=_JSON_DEFAULTS), param)
        except ValueError as error:
            raise bad_request(f"{param}: {excerpt(str(error), 200)}", param) from None

    @classmethod
    def lark(cls, text: str, param: str = "response_format") -> "OutputFormat":
        """What a grammar in llguidance's variant of Lark accepts."""
        return cls(llguidance.LLMatcher.grammar_from_lark(text), param)

    @classmethod
    def call(
        cls, opening: str, schema: Any, closing: str, special: Mapping[str, int], *, required: bool
    ) -> "OutputFormat":
        """JSON that a schema accepts, between two texts: the whole answer, or wherever the opening stands in it.

        Args:
            opening: before each call; without one, an answer is text from its first character or a call.
            schema: of a call.
            closing: after it.
            special: special tokens by name, which no text spells.
            required: whether the answer must be a call.

        Raises:
            ApiError: the schema is too large.
        """
        text = json.dumps({"x-guidance": _JSON_DEFAULTS, **schema})
        if len(text) > MAX_SCHEMA:
            raise bad_request(f"tools: their parameters have more than {MAX_SCHEMA:,} characters", "tools")
        begin = opening.strip()
        first, after = _literal(begin, special), _literal(opening.lstrip().removeprefix(begin), special)
        call = f"{after} %json {text} {_literal(closing, special)}\n"
        if required:
            rules = f"start: {first} {call}"
        elif not begin:
            rules = f"start: TEXT | call\nTEXT: /[^{{\\[](.|\\n)*/\ncall: {call}"
        elif any(begin.startswith(name) for name in special):
            rules = f"start: TEXT (call TEXT)*\nTEXT: /(.|\\n)*/\ncall: {first} {call}"
        else:
            rules = f"start: call* rest\nrest: TEXT\nTEXT: /(.|\\n)*/\nbegin[lazy]: TEXT {first}\ncall: begin {call}"
        return cls.lark(rules, "tools")


def _literal(text: str, special: Mapping[str, int]) -> str:
    """A text as grammars write it: in quotes, special tokens in it by number."""
    parts, rest = [], text
    while rest:
        found = min((each for each in special if each in rest), key=rest.index, default="")
        before, _, rest = rest.partition(found) if found else (rest, "", "")
        parts += ([json.dumps(before, ensure_ascii=False)] if before else []) + (
            [f"<[{special[found]}]>"] if found else []
        )
    return " ".join(parts)


_JSON_DEFAULTS: Any = {"whitespace_pattern": r"[\x20\x0A\x0D\x09]{0,8}"}
"""A model that writes blanks for ever would fill its answer with them."""


class GrammarTokenizer:
    """A vocabulary as llguidance reads it; shared by all requests of a model."""

    def __init__(self, tokenizer: Tokenizer, vocab_size: int) -> None:
        self._tokenizer, self._size = tokenizer, vocab_size

    def compile(self, wanted: OutputFormat) -> Callable[[], "GrammarMask"]:
        """Makes a mask for each answer of this form.

        Raises:
            ApiError: the grammar is not one, or too complex.
        """
        matcher = llguidance.LLMatcher(self._backend, wanted.grammar, log_level=0)
        if matcher.is_error():
            problem = excerpt(" ".join(matcher.get_error().split()), 300)
            raise bad_request(f"{wanted.param}: {problem}", wanted.param)
        return lambda: GrammarMask(matcher.deep_copy(), self._size, self._tokenizer.end_ids)

    @cached_property
    def _backend(self) -> llguidance.LLTokenizer:
        vocabulary: Any = llguidance.TokenizerWrapper(_Vocabulary(self._tokenizer, self._size))
        return llguidance.LLTokenizer(vocabulary, n_vocab=self._size)


class _Vocabulary:
    """What llguidance asks of a tokenizer: the bytes of each token, and the tokens of a text."""

    def __init__(self, tokenizer: Tokenizer, size: int) -> None:
        special = set(tokenizer.special_ids.values())
        unused = set(tokenizer.ids_without_token(size))
        self._tokenizer = tokenizer
        self.eos_token_id = tokenizer.end_id
        self.bos_token_id = tokenizer.special.beginning
        self.special_token_ids = sorted(special | unused)
        self.tokens = [b"" if token in unused else tokenizer.token_bytes(token) for token in range(size)]

    def __call__(self, text: str | bytes) -> list[int]:
        """The tokens of a text."""
        return self._tokenizer.encode(text if isinstance(text, str) else text.decode("utf-8", "replace"))


class GrammarMask:
    """Follows one answer; see `generation.batching.request.TokenMask`."""

    def __init__(self, matcher: llguidance.LLMatcher, vocab_size: int, end_ids: frozenset[int]) -> None:
        self._matcher, self._size, self._end_ids = matcher, vocab_size, end_ids

    def allowed(self) -> BoolArray:
        """(V,) which tokens may come next: the end tokens where the grammar may end."""
        bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        allowed = np.unpackbits(bits, count=self._size, bitorder="little").astype(bool)
        allowed[list(self._end_ids)] = self._matcher.is_accepting()
        return allowed

    def accept(self, token_id: int) -> None:
        """The token that was chosen.

        Raises:
            RuntimeError: the grammar became too complex.
        """
        if token_id not in self._end_ids and not self._matcher.consume_token(token_id):
            raise RuntimeError(f"grammar: {self._matcher.get_error()}")
