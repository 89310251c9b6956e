"""Text ↔ token ids: one class over the `tokenizers` library, whatever kind of vocabulary is inside."""

import codecs
import hashlib
import json
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property

import tokenizers

from openbook.errors import OpenbookError
from openbook.text.tokenizer.byte_decoder import Spelling
from openbook.text.tokenizer.special_token_escaping import Disguise
from openbook.text.tokenizer.special_tokens import LARGEST_ID, SpecialTokens

SWITCH = threading.Lock()
"""Held while a tokenizer encodes: whether special tokens are looked for is part of its state."""


class Tokenizer:
    """Encodes text to token ids and back. Safe to share between threads."""

    def __init__(self, tokenizer: tokenizers.Tokenizer, special: SpecialTokens | None = None) -> None:
        """`special` says what the special tokens are for; None: those of our own vocabularies, found by name.

        Raises OpenbookError where the vocabulary has no such tokens, or its decoder is of a kind not known here.
        """
        self.special = SpecialTokens.named(tokenizer.token_to_id) if special is None else special
        tokenizer.no_padding()
        tokenizer.no_truncation()
        self._tokenizer = tokenizer
        self._spelling = Spelling.of(tokenizer)
        tokenizer.encode_special_tokens = True

    @cached_property
    def _text(self) -> tokenizers.Tokenizer:
        """Text from people and books must not be able to smuggle in special tokens, so this is the one in use."""
        return self.disguise.text if _spells_itself(self._tokenizer, self.special_ids) else self._tokenizer

    @property
    def end_id(self) -> int:
        """The token that closes a document."""
        return self.special.end[0]

    @property
    def end_ids(self) -> frozenset[int]:
        """The tokens that end an answer."""
        return frozenset(self.special.end)

    @property
    def unknown_id(self) -> int | None:
        """The token for what the vocabulary lacks."""
        return self.special.unknown

    @contextmanager
    def _encoder(self, allow_special: bool) -> Iterator[tokenizers.Tokenizer]:
        """What encodes: with `allow_special` "<|end|>" in a text becomes the special token, for one thread at a time.

        A second tokenizer for that would double the memory and the time it takes to open a model.
        """
        if not allow_special and self._text is not self._tokenizer:
            yield self._text
            return
        with SWITCH:
            self._tokenizer.encode_special_tokens = not allow_special
            try:
                yield self._tokenizer
            finally:
                self._tokenizer.encode_special_tokens = True

    @cached_property
    def disguise(self) -> Disguise:
        """The same, with secret names for special tokens: for text in which some are meant and some are spelled."""
        return Disguise(self.to_json(), self.special_ids)

    @cached_property
    def special_ids(self) -> dict[str, int]:
        """Special tokens and their ids."""
        added = self._tokenizer.get_added_tokens_decoder()
        return {token.content: token_id for token_id, token in added.items() if token.special}

    @cached_property
    def _table(self) -> dict[int, bytes]:
        """The bytes of tokens: at first of the added ones, then of all that were asked for."""
        added = self._tokenizer.get_added_tokens_decoder()
        return {token_id: token.content.encode() for token_id, token in added.items()}

    @cached_property
    def _special(self) -> frozenset[int]:
        return frozenset(self.special_ids.values())

    @cached_property
    def vocab_size(self) -> int:
        """One more than the largest token id."""
        return max(self._tokenizer.get_vocab().values()) + 1

    @cached_property
    def fingerprint(self) -> str:
        """A hash that is equal for equal tokenizers."""
        return hashlib.sha256(f"{json.dumps(self.special.to_dict())}\n{self.to_json()}".encode()).hexdigest()

    def encode(self, text: str, *, allow_special: bool = False) -> list[int]:
        """Token ids of a text. The names of special tokens are ordinary text unless `allow_special`."""
        return self.encode_batch([text], allow_special=allow_special)[0]

    def encode_batch(self, texts: Sequence[str], *, allow_special: bool = False) -> list[list[int]]:
        """Token ids of each text, on all cores. Raises OpenbookError for lone surrogates, which are no text."""
        try:
            with self._encoder(allow_special) as tokenizer:
                return [encoding.ids for encoding in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]
        except TypeError:
            raise OpenbookError("text: holds half a surrogate pair, which is no character; give it as UTF-8") from None
        except (KeyboardInterrupt, SystemExit, Exception):
            raise
        except BaseException as error:  # the library's Rust panics are no Exception
            raise OpenbookError(f"text: the tokenizer gives up on it ({str(error)[:100]}); shorten it") from None

    def split(self, text: str) -> list[str]:
        """The words of a text as the vocabulary spells them, before any pieces are joined."""
        pre_tokenizer = self._tokenizer.pre_tokenizer
        return [text] if pre_tokenizer is None else [word for word, _ in pre_tokenizer.pre_tokenize_str(text)]

    def encode_with_starts(self, text: str) -> tuple[list[int], list[int]]:
        """Token ids of a text in which names of special tokens mean those tokens, and where each begins in the text."""
        with self._encoder(allow_special=True) as tokenizer:
            encoding = tokenizer.encode(text, add_special_tokens=False)
        return encoding.ids, [start for start, _ in encoding.offsets]

    def encode_prompt(self, text: str, *, allow_special: bool = False) -> list[int]:
        """Token ids of what a decoder-only model is to go on from, with the tokens that begin every prompt, once."""
        return self._after_prefix(self.encode(text, allow_special=allow_special))

    def encode_source(self, text: str, language: str | None = None) -> list[int]:
        """Token ids of what an encoder is to read, with the tokens around it.

        Raises OpenbookError for a language that the vocabulary has no token for.
        """
        ids, special = self.encode(text), self.special
        code = () if language is None else (special.language(language),)
        before, after = (code, ()) if special.language_place == "before" else ((), code)
        return [*special.prefix, *before, *ids, *special.suffix, *after]

    def _after_prefix(self, ids: list[int]) -> list[int]:
        prefix = list(self.special.prefix)
        return ids if ids[: len(prefix)] == prefix else prefix + ids

    def decode(self, ids: Iterable[int], *, skip_special: bool = False) -> str:
        """Text of token ids; bytes that are not UTF-8 (half a character at an end) become U+FFFD.

        Where encoding puts a space before every text, it is taken off again.
        """
        return self._joined(ids, skip_special).removeprefix(self._spelling.leading).decode("utf-8", "replace")

    def token_bytes(self, token_id: int) -> bytes:
        """Exactly the bytes that a token stands for, which may be part of a character."""
        known = self._table.get(token_id)
        if known is None:
            token = self._tokenizer.id_to_token(token_id) if 0 <= token_id < LARGEST_ID else None
            if token is None:
                raise OpenbookError(f"token {token_id}: not in the vocabulary of {self.vocab_size:,}")
            known = self._table[token_id] = self._spelling(token)
        return known

    def token_text(self, token_id: int) -> str:
        r"""A token for people to look at; bytes that are part of a character show as \xe2."""
        return self.token_bytes(token_id).decode("utf-8", "backslashreplace")

    def count_unknown(self, text: str) -> int:
        """How many characters or words of a text the vocabulary does not have; 0 for bytes and byte-level BPE."""
        return 0 if self.unknown_id is None else self.encode(text).count(self.unknown_id)

    def _joined(self, ids: Iterable[int], skip_special: bool) -> bytes:
        skipped = self._special if skip_special else frozenset()
        return b"".join(self.token_bytes(token_id) for token_id in ids if token_id not in skipped)

    def to_json(self) -> str:
        """The tokenizer as the content of a `tokenizer.json`."""
        return str(self._tokenizer.to_str())

    @classmethod
    def from_json(cls, content: str, special: SpecialTokens | None = None) -> "Tokenizer":
        """The tokenizer of a `tokenizer.json`. Raises OpenbookError for whatever is wrong with it.

        `special` None: one that was learned here, whose special tokens are found by their names.
        """
        try:
            tokenizer = tokenizers.Tokenizer.from_str(content)
            largest = max(tokenizer.get_vocab().values(), default=-1)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # the library's Rust panics are no Exception
            reason = " ".join(str(error).split())[:200]
            raise OpenbookError(
                f"tokenizer: not a tokenizer.json that can be read ({reason}); save it again"
            ) from error
        if not 0 <= largest < LARGEST_ID:
            raise OpenbookError(f"tokenizer: largest token id {largest:,}; must be from 0 to {LARGEST_ID - 1:,}")
        return cls(tokenizer, special)


class StreamDecoder:
    """Token ids, a few at a time → text that never ends within a character."""

    def __init__(self, tokenizer: Tokenizer, *, skip_special: bool = False, beginning: bool = False) -> None:
        """`beginning`: the ids begin a text, so a space that encoding would put before it is taken off."""
        self._tokenizer = tokenizer
        self._leading = tokenizer._spelling.leading if beginning else b""
        self._skip_special = skip_special
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, ids: Iterable[int]) -> str:
        """The text that these ids complete; the bytes of an unfinished character are held back."""
        spelled = self._tokenizer._joined(ids, self._skip_special)
        if spelled and self._leading:
            spelled, self._leading = spelled.removeprefix(self._leading), b""
        return self._decoder.decode(spelled)

    def flush(self) -> str:
        """What was held back, at the end of the stream."""
        return self._decoder.decode(b"", final=True)


def _spells_itself(tokenizer: tokenizers.Tokenizer, names: dict[str, int]) -> bool:
    """Whether the model finds a special token in a text that spells its name."""
    return any(number in (token.id for token in tokenizer.model.tokenize(name)) for name, number in names.items())
