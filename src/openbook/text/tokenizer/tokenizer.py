"""Text ↔ token ids: one class over the `tokenizers` library, for every type of vocabulary."""

import codecs
import hashlib
import json
import re
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import tokenizers

from openbook.errors import OpenbookError
from openbook.text.tokenizer.bounds import check_model, check_parts, read_parts
from openbook.text.tokenizer.byte_decoder import ByteDecoder
from openbook.text.tokenizer.panics import panics_named
from openbook.text.tokenizer.special_token_escaping import SpecialTokenEscaping
from openbook.text.tokenizer.special_tokens import MAXIMUM_ID, SpecialTokens

ENCODE_SPECIAL_TOKENS = threading.Lock()
"""Held while a tokenizer encodes: whether it finds special tokens in text is part of its state."""

UNUSED = "(unused)"
"""Shown for an id that no token has: models round their vocabulary up."""


# An id that is too large has eight digits, or so many tokens before it; the vocabulary itself takes longer to look at.
_EIGHT_DIGITS, _MANY_CHARACTERS = re.compile("[0-9]{8}"), MAXIMUM_ID


class Tokenizer:
    """Encodes text to token ids and back. Safe to share between threads."""

    def __init__(self, tokenizer: tokenizers.Tokenizer, special: SpecialTokens | None = None) -> None:
        """`special`: the roles of the special tokens; None: those of a vocabulary that was trained here.

        Raises:
            OpenbookError: the vocabulary has no such tokens, or its decoder is of an unsupported kind.
        """
        self.special = SpecialTokens.from_names(tokenizer.token_to_id) if special is None else special
        tokenizer.no_padding()
        tokenizer.no_truncation()
        self._tokenizer = tokenizer
        self._byte_decoder = ByteDecoder.of(tokenizer)
        tokenizer.encode_special_tokens = True

    def __reduce__(self) -> tuple[Any, ...]:
        return Tokenizer.from_json, (self.to_json(), self.special)

    @cached_property
    def _text(self) -> tokenizers.Tokenizer:
        """Encodes text from people and books, which must not be able to smuggle in special tokens."""
        finds_names = _model_finds_names(self._tokenizer, self.special_ids)
        return self.escaping.text_backend if finds_names else self._tokenizer

    @property
    def end_id(self) -> int:
        """The token that ends a document."""
        return self.special.end[0]

    @property
    def end_ids(self) -> frozenset[int]:
        """The tokens that end an answer."""
        return frozenset(self.special.end)

    @property
    def begins_with_space(self) -> bool:
        """Whether encoding puts a space before every text, so that texts cannot be encoded piece by piece."""
        return bool(self._byte_decoder.leading_space)

    @property
    def unknown_id(self) -> int | None:
        """The token for what the vocabulary lacks, or None."""
        return self.special.unknown

    @property
    def is_exact(self) -> bool:
        """Whether tokens spell a text exactly, but for what is unknown: nothing is normalized, no space is added."""
        return self._tokenizer.normalizer is None and not self._byte_decoder.leading_space

    @contextmanager
    def _encoder(self, allow_special: bool) -> Iterator[tokenizers.Tokenizer]:
        """The backend to encode with. With `allow_special`, "<|end|>" in a text becomes the special token.

        One backend does both, for one thread at a time: a second one would double the memory and the time to open a
        model.
        """
        if not allow_special and self._text is not self._tokenizer:
            yield self._text
            return
        with ENCODE_SPECIAL_TOKENS:
            self._tokenizer.encode_special_tokens = not allow_special
            try:
                yield self._tokenizer
            finally:
                self._tokenizer.encode_special_tokens = True

    @cached_property
    def escaping(self) -> SpecialTokenEscaping:
        """The same tokenizer for text in which some special tokens are meant and others are only spelled out."""
        return SpecialTokenEscaping(self.to_json(), self.special_ids)

    @cached_property
    def special_ids(self) -> dict[str, int]:
        """Special tokens and their ids."""
        added = self._tokenizer.get_added_tokens_decoder()
        return {token.content: token_id for token_id, token in added.items() if token.special}

    @cached_property
    def _bytes_of_token(self) -> dict[int, bytes]:
        """A cache of the bytes of tokens; it starts with the added ones."""
        added = self._tokenizer.get_added_tokens_decoder()
        return {token_id: token.content.encode() for token_id, token in added.items()}

    @cached_property
    def _special_id_set(self) -> frozenset[int]:
        return frozenset(self.special_ids.values())

    @cached_property
    def vocab_size(self) -> int:
        """One more than the largest token id."""
        return max(self._tokenizer.get_vocab().values()) + 1

    def ids_without_token(self, rows: int) -> tuple[int, ...]:
        """The ids below `rows`, the length of an embedding table, that no token has."""
        if self._tokenizer.get_vocab_size() == self.vocab_size == rows:
            return ()
        known = set(self._tokenizer.get_vocab().values())
        return tuple(number for number in range(rows) if number not in known)

    @property
    def ids(self) -> list[int]:
        """All token ids; some numbers below the largest may be missing."""
        return sorted(self._tokenizer.get_vocab().values())

    @cached_property
    def fingerprint(self) -> str:
        """A hash that is equal for equal tokenizers."""
        return hashlib.sha256(f"{json.dumps(self.special.to_dict())}\n{self.to_json()}".encode()).hexdigest()

    def encode(self, text: str, *, allow_special: bool = False) -> list[int]:
        """Token ids of a text. The names of special tokens are ordinary text unless `allow_special`."""
        return self.encode_batch([text], allow_special=allow_special)[0]

    def encode_batch(self, texts: Sequence[str], *, allow_special: bool = False) -> list[list[int]]:
        """Token ids of each text, on all cores.

        Raises:
            OpenbookError: a text contains a lone surrogate, or the library gives up on it.
        """
        with panics_named(), self._encoder(allow_special) as tokenizer:
            return [encoding.ids for encoding in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]

    def split(self, text: str) -> list[str]:
        """The words of a text after pre-tokenization, before any pieces are merged."""
        pre_tokenizer = self._tokenizer.pre_tokenizer
        with panics_named():
            return [text] if pre_tokenizer is None else [word for word, _ in pre_tokenizer.pre_tokenize_str(text)]

    def normalize(self, text: str) -> str:
        """A text as the tokenizer changes it before it splits it into words."""
        normalizer = self._tokenizer.normalizer
        with panics_named():
            return text if normalizer is None else str(normalizer.normalize_str(text))

    def word_tokens(self, word: str) -> list[int]:
        """Token ids of one word as `split` gives it."""
        with panics_named():
            return [token.id for token in self._tokenizer.model.tokenize(word)]

    def encode_with_starts(self, text: str) -> tuple[list[int], list[int]]:
        """Token ids of a text in which names of special tokens mean those tokens, and the offset where each starts."""
        with panics_named(), self._encoder(allow_special=True) as tokenizer:
            encoding = tokenizer.encode(text, add_special_tokens=False)
        return encoding.ids, [start for start, _ in encoding.offsets]

    def encode_with_spans(self, text: str) -> list[tuple[int, tuple[int, int]]]:
        """Token ids of a text as `encode` gives them, each with the offsets where it starts and ends.

        Raises:
            OpenbookError: the text contains a lone surrogate.
        """
        with panics_named(), self._encoder(allow_special=False) as tokenizer:
            encoding = tokenizer.encode(text, add_special_tokens=False)
        return list(zip(encoding.ids, encoding.offsets, strict=True))

    def encode_prompt(self, text: str, *, allow_special: bool = False) -> list[int]:
        """Token ids of a prompt for a decoder-only model, with `special.prefix` before it, once."""
        return self._after_prefix(self.encode(text, allow_special=allow_special))

    def encode_source(self, text: str, language: str | None = None) -> list[int]:
        """Token ids of a source for an encoder, with `special.prefix`, `special.suffix` and the language token.

        Raises:
            OpenbookError: the vocabulary has no token for the language.
        """
        ids, special = self.encode(text), self.special
        code = () if language is None else (special.language(language),)
        before, after = (code, ()) if special.language_position == "before" else ((), code)
        return [*special.prefix, *before, *ids, *special.suffix, *after]

    def _after_prefix(self, ids: list[int]) -> list[int]:
        prefix = list(self.special.prefix)
        return ids if ids[: len(prefix)] == prefix else prefix + ids

    def decode(self, ids: Iterable[int], *, skip_special: bool = False) -> str:
        """The text of token ids; bytes that are not UTF-8 (half a character at an end) become U+FFFD.

        The space that some vocabularies put before every text is removed.
        """
        return self._joined(ids, skip_special).removeprefix(self._byte_decoder.leading_space).decode("utf-8", "replace")

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes that a token stands for, which may be part of a character.

        Raises:
            OpenbookError: there is no such token.
        """
        known = self._bytes_of_token.get(token_id)
        if known is None:
            token = self._tokenizer.id_to_token(token_id) if 0 <= token_id < MAXIMUM_ID else None
            if token is None:
                raise OpenbookError(f"token {token_id}: not in the vocabulary of {self.vocab_size:,}")
            known = self._bytes_of_token[token_id] = self._byte_decoder(token)
        return known

    def token_text(self, token_id: int) -> str:
        r"""A token for display; bytes that are part of a character show as \xe2, an id without a token as (unused)."""
        try:
            return self.token_bytes(token_id).decode("utf-8", "backslashreplace")
        except OpenbookError:
            return UNUSED

    def _joined(self, ids: Iterable[int], skip_special: bool) -> bytes:
        skipped = self._special_id_set if skip_special else frozenset()
        return b"".join(self.token_bytes(token_id) for token_id in ids if token_id not in skipped)

    def to_json(self) -> str:
        """The tokenizer as the content of a `tokenizer.json`."""
        return str(self._tokenizer.to_str())

    @classmethod
    def from_json(cls, content: str, special: SpecialTokens | None = None) -> "Tokenizer":
        """Read the content of a `tokenizer.json`; for `special`, see the constructor.

        Raises:
            OpenbookError: the content is damaged, or asks for far more time or memory than a text needs.
        """
        parts = read_parts(content)
        with _problem_named():
            check_parts(parts)
        try:
            tokenizer = tokenizers.Tokenizer.from_str(content)
            large_ids = len(content) > _MANY_CHARACTERS or _EIGHT_DIGITS.search(content) is not None
            largest = max(tokenizer.get_vocab().values(), default=-1) if large_ids else tokenizer.get_vocab_size() - 1
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # the library's Rust panics are no Exception
            reason = " ".join(str(error).split())[:200]
            raise OpenbookError(
                f"tokenizer: not a tokenizer.json that can be read ({reason}); save it again"
            ) from error
        if not 0 <= largest < MAXIMUM_ID:
            raise OpenbookError(f"tokenizer: largest token id {largest:,}; must be from 0 to {MAXIMUM_ID - 1:,}")
        with _problem_named():
            check_model(tokenizer.model)
        return cls(tokenizer, special)


class StreamDecoder:
    """Token ids, a few at a time → text that never ends in the middle of a character."""

    def __init__(self, tokenizer: Tokenizer, *, skip_special: bool = False, beginning: bool = False) -> None:
        """`beginning`: the ids begin a text, so a space that encoding puts before it is removed."""
        self._tokenizer = tokenizer
        self._leading_space = tokenizer._byte_decoder.leading_space if beginning else b""
        self._skip_special = skip_special
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, ids: Iterable[int]) -> str:
        """The text that these ids complete; the bytes of an unfinished character wait for the next call."""
        text = self._tokenizer._joined(ids, self._skip_special)
        if text and self._leading_space:
            text, self._leading_space = text.removeprefix(self._leading_space), b""
        return self._decoder.decode(text)

    def flush(self) -> str:
        """What is left at the end of the stream."""
        return self._decoder.decode(b"", final=True)


@contextmanager
def _problem_named() -> Iterator[None]:
    try:
        yield
    except OpenbookError as error:
        raise OpenbookError(f"tokenizer: {error}; do not use this file") from None


def _model_finds_names(tokenizer: tokenizers.Tokenizer, names: dict[str, int]) -> bool:
    """Whether the model itself, without added tokens, finds a special token in its name."""
    with panics_named():
        return any(number in (token.id for token in tokenizer.model.tokenize(name)) for name, number in names.items())
