"""The tokens that stand for no text: what each is for, by id. Kept in the model file beside the tokenizer."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from openbook.errors import OpenbookError
from openbook.text.corpus.printable import excerpt

END = "<|end|>"
"""End of text: closes every document, and tells generation to stop."""
PADDING = "<|padding|>"
"""Fills short rows of a batch up; no text has it."""
SEPARATOR = "<|separator|>"
"""Stands between a source and its translation where one sequence holds both."""
UNKNOWN = "<|unknown|>"
"""Stands for whatever a vocabulary of characters or words does not have."""

LARGEST_ID = 1 << 24
MAXIMUM_LANGUAGES = 10_000
_LONGEST_CODE = 100


@dataclass(frozen=True, kw_only=True)
class SpecialTokens:
    """What the special tokens of a vocabulary are for. None and empty: there is no such token.

    A source (of an encoder-decoder) is read as `[*prefix, *text, *suffix]`, a prompt (of a decoder-only model) as
    `[*prefix, *text]`; see `Tokenizer.encode_source` and `encode_prompt`, which add no token that is there already.

    Attributes:
        end: tokens that end an answer; the first closes each document.
        padding: fills rows up.
        beginning: begins a text; it is in `prefix` if prompts get it.
        unknown: stands for what the vocabulary lacks.
        separator: stands between the parts of a sequence.
        prefix: tokens before every prompt or source.
        suffix: tokens after every source.
        decoder_start: the token from which a decoder beside an encoder begins; it is no part of the answer.
        forced_beginning: tokens with which every answer begins, whatever the model says.
        forced_end: the token that ends an answer of the greatest length.
        never: tokens that must not be chosen.
        languages: language code → its token.
        language_place: where a source has the token of its language: before the text, or after the suffix.
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
    never: tuple[int, ...] = ()
    languages: Mapping[str, int] = field(default_factory=dict, hash=False)
    language_place: Literal["before", "after"] = "before"

    def __post_init__(self) -> None:
        """Raises OpenbookError where a value is not of its kind."""
        if not self.end:
            raise OpenbookError("special tokens, end: is empty; name at least one token that ends a text")
        for each in fields(self):
            value = getattr(self, each.name)
            if isinstance(each.default, tuple) or each.name == "end":
                if not isinstance(value, tuple) or len(value) > 1000 or not all(map(_is_id, value)):
                    raise OpenbookError(f"special tokens, {each.name}: {_shown(value)} is no list of token ids")
            elif each.name == "languages":
                _check_languages(value)
            elif each.name == "language_place":
                if value not in ("before", "after"):
                    raise OpenbookError(f"special tokens, language_place: {_shown(value)} is not before or after")
            elif value is not None and not _is_id(value):
                raise OpenbookError(f"special tokens, {each.name}: {_shown(value)} is no token id")

    @property
    def largest(self) -> int:
        """The largest id that is named here."""
        single = (self.padding, self.beginning, self.unknown, self.separator, self.decoder_start, self.forced_end)
        several = (*self.end, *self.prefix, *self.suffix, *self.forced_beginning, *self.never)
        return max([*several, *self.languages.values(), *(each for each in single if each is not None)])

    def language(self, code: str) -> int:
        """The token of a language. Raises OpenbookError with those that the model has."""
        if code not in self.languages:
            known = ", ".join(sorted(self.languages)) or "none"
            raise OpenbookError(f"language {code!r}: this model does not have it; it has {known}")
        return self.languages[code]

    def to_dict(self) -> dict[str, Any]:
        """As plain data; what has its default is left out."""
        values = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
        return {name: value for name, value in values.items() if value not in (None, [], {}, "before")}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "SpecialTokens":
        """What `to_dict` gave. Raises OpenbookError for whatever is wrong with it."""
        known = {each.name for each in fields(cls)}
        for name in values:
            if name not in known:
                raise OpenbookError(f"special tokens: unknown field {excerpt(str(name))}; upgrade openbook")
        return cls(**{"end": ()} | {n: tuple(v) if isinstance(v, list) else v for n, v in values.items()})

    @classmethod
    def named(cls, id_of: Callable[[str], int | None], end: str = END) -> "SpecialTokens":
        """Those of a vocabulary that was learned here, found by their names.

        Args:
            id_of: gives the id of a token, or None.
            end: the name of the token that ends a text.

        Raises:
            OpenbookError: there is no token of that name.
        """
        end_id = id_of(end)
        if end_id is None:
            raise OpenbookError(f"tokenizer: no end token {end!r} in its vocabulary; name the one it has")
        return cls(end=(end_id,), padding=id_of(PADDING), separator=id_of(SEPARATOR), unknown=id_of(UNKNOWN))


def _is_id(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < LARGEST_ID


def _check_languages(languages: object) -> None:
    if not isinstance(languages, Mapping) or len(languages) > MAXIMUM_LANGUAGES:
        raise OpenbookError(f"special tokens, languages: {_shown(languages)} is no table of codes and token ids")
    for code, token in languages.items():
        if not isinstance(code, str) or not 1 <= len(code) <= _LONGEST_CODE or not _is_id(token):
            raise OpenbookError(f"special tokens, languages: {_shown(code)} is {_shown(token)}, not a token id")


def _shown(value: object) -> str:
    return excerpt(repr(value))
