"""What the special tokens of a foreign tokenizer are for, from the configuration files beside it."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer as Backend
from tokenizers import processors

from openbook.errors import OpenbookError
from openbook.interop.tokenizers.files import read_optional
from openbook.interop.tokenizers.tokenizer_file import Layout
from openbook.text.tokenizer.special_tokens import LARGEST_ID, SpecialTokens

CONFIGURATION = 64 << 20
LANGUAGE = re.compile(
    r"(?P<plain>[a-z]{2,3}_(?:[A-Z]{2}|[A-Z][a-z]{3}))|__(?P<lined>[a-z]{2,4})__|>>(?P<arrowed>\w+)<<"
)


class Configuration:
    """The JSON files beside a tokenizer that speak of its special tokens."""

    def __init__(self, folder: Path) -> None:
        """Raises OpenbookError for a file that is no JSON object."""
        self.tokenizer = read_optional(folder / "tokenizer_config.json", CONFIGURATION)
        self.named = read_optional(folder / "special_tokens_map.json", CONFIGURATION)
        self.added = read_optional(folder / "added_tokens.json", CONFIGURATION)
        model = read_optional(folder / "config.json", CONFIGURATION)
        inner = model.get("text_config")
        self.model = {**model, **inner} if isinstance(inner, dict) else model
        self.generation = read_optional(folder / "generation_config.json", CONFIGURATION)

    def name(self, role: str) -> str | None:
        """The token that plays a role, such as eos_token."""
        value = self.tokenizer.get(role) or self.named.get(role)
        value = value.get("content") if isinstance(value, dict) else value
        return value if isinstance(value, str) and value else None

    def value(self, key: str) -> Any:
        """A setting of generation, or of the model."""
        value = self.generation.get(key)
        return self.model.get(key) if value is None else value

    @property
    def flags(self) -> dict[str, bool]:
        """Whether the beginning and end token are put around text, where the files say so."""
        flags = {key: self.tokenizer.get(key) for key in ("add_bos_token", "add_eos_token")}
        return {key: value for key, value in flags.items() if isinstance(value, bool)}

    @property
    def encoder_decoder(self) -> bool:
        """Whether the model reads with an encoder."""
        return self.model.get("is_encoder_decoder") is True

    def tokens(self) -> list[tuple[int, str, dict[str, bool]]]:
        """Added tokens with their ids and flags, in the order of their ids."""
        found: dict[int, tuple[str, dict[str, bool]]] = {}
        listed = self.tokenizer.get("added_tokens_decoder")
        for key, entry in (listed if isinstance(listed, dict) else {}).items():
            if not key.isdigit() or not isinstance(entry, dict) or not isinstance(entry.get("content"), str):
                raise OpenbookError("tokenizer_config.json: added_tokens_decoder should map ids to tokens")
            names = ("special", "lstrip", "rstrip", "normalized", "single_word")
            found[int(key)] = entry["content"], {name: entry.get(name) is True for name in names}
        for name, number in self.added.items():
            if isinstance(number, int) and number not in found:
                found[number] = name, {"special": True}
        return [(number, *found[number]) for number in sorted(found)]


def read_special(configuration: Configuration, backend: Backend, layout: Layout | None) -> SpecialTokens:
    """What the special tokens are for; sets the backend's post-processor to the prefix and suffix where that differs.

    Args:
        configuration: what the files say.
        backend: the tokenizer.
        layout: how older files are meant; None where a tokenizer.json says how text begins and ends.

    Raises:
        OpenbookError: a token id is none, or there is no token that ends a text.
    """
    c = configuration

    def named(role: str, key: str | None = None) -> int | None:
        name = c.name(role)
        number = backend.token_to_id(name) if name is not None else None
        return number if number is not None else _first(_ids(c, key)) if key else None

    end = list(dict.fromkeys([*_known(backend.token_to_id, c.name("eos_token")), *_ids(c, "eos_token_id")]))
    if not end:
        raise OpenbookError("tokenizer_config.json: names no eos_token, the token that ends a text; add it")
    beginning = named("bos_token", "bos_token_id")
    prefix, suffix = _around(c, backend, layout, beginning, end[0])
    languages = {code: number for number, name in _special(backend) if (code := _language(name)) is not None}
    codes = set(languages.values())
    return SpecialTokens(
        end=tuple(end),
        padding=named("pad_token", "pad_token_id"),
        beginning=beginning,
        unknown=named("unk_token"),
        prefix=tuple(each for each in prefix if each not in codes),
        suffix=tuple(each for each in suffix if each not in codes),
        decoder_start=_first(_ids(c, "decoder_start_token_id")),
        forced_beginning=tuple(_ids(c, "forced_bos_token_id")),
        forced_end=_first(_ids(c, "forced_eos_token_id")),
        never=tuple(_never(c)),
        languages=languages,
        language_place="after" if codes & set(suffix) else "before",
    )


def template_of(backend: Backend) -> tuple[list[int], list[int]]:
    """The tokens that the backend puts before and after a text when it is asked to add special tokens."""
    encoding = backend.encode("a")
    ours = [number for number, added in enumerate(encoding.special_tokens_mask) if not added]
    if not ours:  # a vocabulary without this letter: all there is stands before it
        return encoding.ids, []
    return encoding.ids[: ours[0]], encoding.ids[ours[-1] + 1 :]


def set_template(backend: Backend, prefix: Sequence[int], suffix: Sequence[int]) -> None:
    """Let the backend put these tokens around text when it is asked to add special tokens."""
    names = {number: backend.id_to_token(number) for number in [*prefix, *suffix]}
    around = [f"<{number}>" for number in prefix], [f"<{number}>" for number in suffix]
    backend.post_processor = processors.TemplateProcessing(
        single=[*around[0], "$A", *around[1]],
        pair=[*around[0], "$A", *around[1], "$B:1", *(f"{each}:1" for each in around[1])],
        special_tokens=[{"id": f"<{number}>", "ids": [number], "tokens": [name]} for number, name in names.items()],
    )


def _around(
    c: Configuration, backend: Backend, layout: Layout | None, beginning: int | None, end: int
) -> tuple[list[int], list[int]]:
    """The tokens before and after a text."""
    flags = c.flags
    if layout is None and not flags:
        return template_of(backend)
    layout = layout or Layout()
    prefix = _ids_of(backend, layout.prefix or ())
    suffix = _ids_of(backend, layout.suffix or ())
    if layout.prefix is None and flags.get("add_bos_token", False) and beginning is not None:
        prefix = [beginning]
    if layout.suffix is None and flags.get("add_eos_token", c.encoder_decoder):
        suffix = [end]
    if (prefix, suffix) != template_of(backend):
        set_template(backend, prefix, suffix)
    return prefix, suffix


def _ids_of(backend: Backend, names: Sequence[str]) -> list[int]:
    ids = [backend.token_to_id(name) for name in names]
    if None in ids:
        raise OpenbookError(f"tokenizer: its vocabulary lacks one of {', '.join(names)}")
    return [number for number in ids if number is not None]


def _special(backend: Backend) -> list[tuple[int, str]]:
    added = backend.get_added_tokens_decoder()
    return [(number, token.content) for number, token in sorted(added.items()) if token.special]


def _language(name: str) -> str | None:
    found = LANGUAGE.fullmatch(name)
    return found and (found["plain"] or found["lined"] or found["arrowed"])


def _never(c: Configuration) -> list[int]:
    """Tokens that are suppressed, or are bad words by themselves."""
    words = c.value("bad_words_ids")
    alone = [word[0] for word in words if isinstance(word, list) and len(word) == 1] if isinstance(words, list) else []
    return list(dict.fromkeys([*_checked("bad_words_ids", alone), *_ids(c, "suppress_tokens")]))


def _ids(c: Configuration, key: str) -> list[int]:
    value = c.value(key)
    return _checked(key, value if isinstance(value, list) else [] if value is None else [value])


def _checked(key: str, values: list[Any]) -> list[int]:
    for value in values:
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < LARGEST_ID:
            raise OpenbookError(f"config.json or generation_config.json: {key} is no token id")
    return values


def _first(ids: Sequence[int]) -> int | None:
    return ids[0] if ids else None


def _known(id_of: Callable[[str], int | None], name: str | None) -> list[int]:
    number = id_of(name) if name else None
    return [] if number is None else [number]
