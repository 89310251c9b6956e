"""The roles of special tokens, by id. Kept in the model file beside the tokenizer."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from openbook.errors import OpenbookError
from openbook.text.printable import excerpt

END = "<|end|>"
"""Ends every document, and tells generation to stop."""
PADDING = "<|padding|>"
"""Fills the short rows of a batch; no text contains it."""
SEPARATOR = "<|separator|>"
"""Stands between a source and its translation where one sequence holds both."""
UNKNOWN = "<|unknown|>"
"""Stands for what a vocabulary of characters or words lacks."""

MAXIMUM_ID = 1 << 24
MAXIMUM_LANGUAGES = 10_000
MAXIMUM_TOKENS = 1000
_MAXIMUM_CODE_LENGTH = 100


@dataclass(frozen=True, kw_only=True)
class SpecialTokens:
    """The roles of the special tokens of a vocabulary. None or empty: there is no such token.

    A source (of an encoder-decoder) is read as `[*prefix, *text, *suffix]`, a prompt (of a decoder-only model) as
    `[*prefix, *text]`; see `Tokenizer.encode_source` and `encode_prompt`, which add no token that is there already.

    Attributes:
        end: tokens that end an answer; the first ends each document.
        padding: fills rows.
        beginning: begins a text; it is in `prefix` if prompts start with it.
        unknown: stands for what the vocabulary lacks.
        separator: stands between the parts of a sequence.
        prefix: tokens before every prompt or source.
        suffix: tokens after every source.
        decoder_start: the token from which the decoder of an encoder-decoder starts; it is not part of the answer.
        forced_beginning: tokens that every answer begins with, whatever the model predicts.
        forced_end: the token that ends an answer of the greatest length.
        suppressed: tokens that are never generated.
        languages: language code → its token.
        language_position: where a source has the token of its language: before the text, or after the suffix.
    """

    end: tuple[int, ...]
    padding: int | None = None
    beginning: int | None = None
    unknown: int | None = None
    separator: int | None = None
    prefix: tuple[int, ...] = ()
    suffix: tuple[int, ...] = ()
    decoder_start: int | None = None
    forced_beginning: tuple[int, ...] = ()
    forced_end: int | None = None
    suppressed: tuple[int, ...] = ()
    languages: Mapping[str, int] = field(default_factory=dict, hash=False)
    language_position: Literal["before", "after"] = "before"

    def __post_init__(self) -> None:
        """Raises OpenbookError where a value has the wrong type or is out of range."""
        if not self.end:
            raise OpenbookError("special tokens, end: is empty; name at least one token that ends a text")
        for each in fields(self):
            value = getattr(self, each.name)
            if isinstance(each.default, tuple) or each.name == "end":
                if not isinstance(value, tuple) or len(value) > MAXIMUM_TOKENS or not all(map(_is_id, value)):
                    raise OpenbookError(f"special tokens, {each.name}: {_repr(value)} is not a list of token ids")
            elif each.name == "languages":
                _check_languages(value)
            elif each.name == "language_position":
                if value not in ("before", "after"):
                    raise OpenbookError(f"special tokens, language_position: {_repr(value)} is not before or after")
            elif value is not None and not _is_id(value):
                raise OpenbookError(f"special tokens, {each.name}: {_repr(value)} is not a token id")

    @property
    def largest_id(self) -> int:
        """The largest id named here."""
        single = (self.padding, self.beginning, self.unknown, self.separator, self.decoder_start, self.forced_end)
        several = (*self.end, *self.prefix, *self.suffix, *self.forced_beginning, *self.suppressed)
        return max([*several, *self.languages.values(), *(each for each in single if each is not None)])

    def named_roles(self) -> dict[str, int]:
        """Role → token, under the names that configuration files and chat templates use; absent ones are left out."""
        roles = {
            "bos_token": self.beginning,
            "eos_token": self.end[0],
            "pad_token": self.padding,
            "unk_token": self.unknown,
            "sep_token": self.separator,
        }
        return {role: token_id for role, token_id in roles.items() if token_id is not None}

    def language(self, code: str) -> int:
        """The token of a language.

        Raises:
            OpenbookError: the model does not have that language; the message lists those that it has.
        """
        if code not in self.languages:
            known = ", ".join(sorted(self.languages)) or "none"
            raise OpenbookError(f"language {code!r}: this model does not have it; it has {known}")
        return self.languages[code]

    def to_dict(self) -> dict[str, Any]:
        """As plain data, without what has its default."""
        values = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
        return {name: value for name, value in values.items() if value not in (None, [], {}, "before")}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "SpecialTokens":
        """The opposite of `to_dict`.

        Raises:
            OpenbookError: a field is unknown or has a wrong value.
        """
        known = {each.name for each in fields(cls)}
        for name in values:
            if name not in known:
                raise OpenbookError(f"special tokens: unknown field {excerpt(str(name))}; upgrade openbook")
        return cls(**{"end": ()} | {n: tuple(v) if isinstance(v, list) else v for n, v in values.items()})

    @classmethod
    def from_names(cls, id_of: Callable[[str], int | None], end: str = END) -> "SpecialTokens":
        """The roles in a vocabulary that was trained here, whose special tokens have known names.

        Args:
            id_of: gives the id of a token, or None.
            end: the name of the token that ends a text.

        Raises:
            OpenbookError: the vocabulary has no token named `end`.
        """
        end_id = id_of(end)
        if end_id is None:
            raise OpenbookError(f"tokenizer: no end token {end!r} in its vocabulary; name the one it has")
        return cls(end=(end_id,), padding=id_of(PADDING), separator=id_of(SEPARATOR), unknown=id_of(UNKNOWN))


def _is_id(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MAXIMUM_ID


def _check_languages(languages: object) -> None:
    if not isinstance(languages, Mapping) or len(languages) > MAXIMUM_LANGUAGES:
        raise OpenbookError(f"special tokens, languages: {_repr(languages)} does not map codes to token ids")
    for code, token in languages.items():
        if not isinstance(code, str) or not 1 <= len(code) <= _MAXIMUM_CODE_LENGTH or not _is_id(token):
            raise OpenbookError(f"special tokens, languages: {_repr(code)} is {_repr(token)}, not a token id")


def _repr(value: object) -> str:
    return excerpt(repr(value))
