"""Text ↔ token ids: one class over the `tokenizers` library, whatever kind of vocabulary is inside."""

import codecs
import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property

import tokenizers

from openbook.errors import OpenbookError
from openbook.text.special_tokens import LARGEST_ID, SpecialTokens


class Tokenizer:
    """Encodes text to token ids and back. Safe to share between threads."""

    def __init__(self, tokenizer: tokenizers.Tokenizer, special: SpecialTokens | None = None) -> None:
        """`special` says what the special tokens are for; None: those of our own vocabularies, found by name.

        Raises OpenbookError where the vocabulary has no such tokens.
        """
        self.special = SpecialTokens.named(tokenizer.token_to_id) if special is None else special
        tokenizer.no_padding()
        tokenizer.no_truncation()
        self._tokenizer = tokenizer
        # Text from people and books must not be able to smuggle in special tokens, so this is the instance in use.
        tokenizer.encode_special_tokens = True

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

    @cached_property
    def _parsing(self) -> tokenizers.Tokenizer:
        """The same, but "<|end|>" in a text becomes the special token. A second one, since the switch is its state."""
        return tokenizers.Tokenizer.from_str(self.to_json())

    @cached_property
    def special_ids(self) -> dict[str, int]:
        """Special tokens and their ids."""
        added = self._tokenizer.get_added_tokens_decoder()
        return {token.content: token_id for token_id, token in added.items() if token.special}

    @cached_property
    def _table(self) -> dict[int, bytes]:
        return _token_table(self._tokenizer)

    @cached_property
    def _special(self) -> frozenset[int]:
        return frozenset(self.special_ids.values())

    @cached_property
    def vocabulary_size(self) -> int:
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
        tokenizer = self._parsing if allow_special else self._tokenizer
        try:
            return [encoding.ids for encoding in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]
        except TypeError:
            raise OpenbookError("text: holds half a surrogate pair, which is no character; give it as UTF-8") from None

    def encode_prompt(self, text: str, *, allow_special: bool = False) -> list[int]:
        """Token ids of what a decoder-only model is to go on from, with the tokens that begin every prompt, once."""
        return self._after_prefix(self.encode(text, allow_special=allow_special)) or [self.end_id]

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
        """Text of token ids; bytes that are not UTF-8 (half a character at an end) become U+FFFD."""
        return self._joined(ids, skip_special).decode("utf-8", "replace")

    def token_bytes(self, token_id: int) -> bytes:
        """Exactly the bytes that a token stands for, which may be part of a character."""
        try:
            return self._table[token_id]
        except KeyError:
            raise OpenbookError(f"token {token_id}: not in the vocabulary of {self.vocabulary_size:,}") from None

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

    def __init__(self, tokenizer: Tokenizer, *, skip_special: bool = False) -> None:
        self._tokenizer = tokenizer
        self._skip_special = skip_special
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, ids: Iterable[int]) -> str:
        """The text that these ids complete; the bytes of an unfinished character are held back."""
        return self._decoder.decode(self._tokenizer._joined(ids, self._skip_special))

    def flush(self) -> str:
        """What was held back, at the end of the stream."""
        return self._decoder.decode(b"", final=True)


def _token_table(tokenizer: tokenizers.Tokenizer) -> dict[int, bytes]:
    """The bytes of every token. How tokens spell bytes depends on the decoder; each kind has its function here."""
    kind = type(tokenizer.decoder).__name__
    if kind not in SPELLINGS:
        raise OpenbookError(f"tokenizer: its decoder {kind} is not supported; only {' and '.join(SPELLINGS)} are")
    spell = SPELLINGS[kind]
    table = {token_id: spell(token) for token, token_id in tokenizer.get_vocab(with_added_tokens=False).items()}
    added = tokenizer.get_added_tokens_decoder()
    return table | {token_id: token.content.encode() for token_id, token in added.items()}


def _byte_of_character() -> dict[str, int]:
    """The byte that each character of the byte-level alphabet stands for: itself, or the next of those left over."""
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    itself = {character: ord(character) for character in alphabet if ord(character) < 256}
    left_over = sorted(set(range(256)) - set(itself.values()))
    return itself | dict(zip(alphabet[len(itself) :], left_over, strict=True))


BYTE_OF_CHARACTER = _byte_of_character()


def _spell_byte_level(token: str) -> bytes:
    try:
        return bytes(BYTE_OF_CHARACTER[character] for character in token)
    except KeyError:
        return token.encode()  # a token from outside the alphabet stands for its own text


def _spell_text(token: str) -> bytes:
    return token.encode()


SPELLINGS: dict[str, Callable[[str], bytes]] = {"ByteLevel": _spell_byte_level, "Fuse": _spell_text}
