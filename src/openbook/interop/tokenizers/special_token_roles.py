"""The roles of an imported tokenizer's special tokens, from the configuration files beside it."""

import re
from collections.abc import Sequence
from typing import Any

from tokenizers import Tokenizer as Backend

from openbook.errors import OpenbookError
from openbook.interop.tokenizers.legacy_layout import LegacyLayout
from openbook.interop.tokenizers.post_processor import added_tokens, set_added_tokens
from openbook.interop.tokenizers.tokenizer_config import TokenizerConfig
from openbook.text.tokenizer.special_tokens import MAXIMUM_ID, SpecialTokens

LANGUAGE = re.compile(
    r"(?P<plain>[a-z]{2,3}_(?:[A-Z]{2}|[A-Z][a-z]{3}))|__(?P<underscored>[a-z]{2,4})__|>>(?P<bracketed>\w+)<<"
)
"""A special token that stands for a language: de_DE, deu_Latn, __de__, >>deu<<."""


def read_special_tokens(config: TokenizerConfig, backend: Backend, layout: LegacyLayout | None) -> SpecialTokens:
    """The roles of the special tokens; gives the backend a post-processor with the prefix and suffix if it differs.

    Args:
        config: the configuration files.
        backend: the tokenizer.
        layout: how to read older files; None where a tokenizer.json says how text begins and ends.

    Raises:
        OpenbookError: a token id is invalid, or no token ends a text.
    """

    def role(name: str) -> int | None:
        token = config.token(name)
        return backend.token_to_id(token) if token is not None else None

    def role_or_id(name: str) -> int | None:
        token_id = role(name)
        return token_id if token_id is not None else _first(_ids(config, f"{name}_id"))

    end = list(dict.fromkeys([*_as_list(role("eos_token")), *_ids(config, "eos_token_id")]))
    if not end:
        raise OpenbookError("tokenizer_config.json: names no eos_token, the token that ends a text; add it")
    beginning = role_or_id("bos_token")
    prefix, suffix = _prefix_and_suffix(config, backend, layout, beginning, end[0])
    languages = {code: token_id for token_id, name in _special_tokens(backend) if (code := _language(name)) is not None}
    codes = set(languages.values())
    return SpecialTokens(
        end=tuple(end),
        padding=role_or_id("pad_token"),
        beginning=beginning,
        unknown=role("unk_token"),
        prefix=tuple(token_id for token_id in prefix if token_id not in codes),
        suffix=tuple(token_id for token_id in suffix if token_id not in codes),
        decoder_start=_first(_ids(config, "decoder_start_token_id")),
        forced_beginning=tuple(_ids(config, "forced_bos_token_id")),
        forced_end=_first(_ids(config, "forced_eos_token_id")),
        suppressed=tuple(_suppressed(config)),
        languages=languages,
        language_position="after" if codes & set(suffix) else "before",
    )


def _prefix_and_suffix(
    config: TokenizerConfig, backend: Backend, layout: LegacyLayout | None, beginning: int | None, end: int
) -> tuple[list[int], list[int]]:
    """The tokens before and after a text."""
    flags = config.adds_tokens
    if layout is None and not flags:
        return added_tokens(backend)
    layout = layout or LegacyLayout()
    prefix = _ids_of(backend, layout.prefix or ())
    suffix = _ids_of(backend, layout.suffix or ())
    if layout.prefix is None and flags.get("add_bos_token", False) and beginning is not None:
        prefix = [beginning]
    if layout.suffix is None and flags.get("add_eos_token", config.encoder_decoder):
        suffix = [end]
    if (prefix, suffix) != added_tokens(backend):
        set_added_tokens(backend, prefix, suffix)
    return prefix, suffix


def _ids_of(backend: Backend, names: Sequence[str]) -> list[int]:
    ids = [backend.token_to_id(name) for name in names]
    if None in ids:
        raise OpenbookError(f"tokenizer: its vocabulary lacks one of {', '.join(names)}")
    return [token_id for token_id in ids if token_id is not None]


def _special_tokens(backend: Backend) -> list[tuple[int, str]]:
    added = backend.get_added_tokens_decoder()
    return [(token_id, token.content) for token_id, token in sorted(added.items()) if token.special]


def _language(name: str) -> str | None:
    found = LANGUAGE.fullmatch(name)
    return found and (found["plain"] or found["underscored"] or found["bracketed"])


def _suppressed(config: TokenizerConfig) -> list[int]:
    """Suppressed tokens, and bad words of a single token."""
    words = config.value("bad_words_ids")
    single = [word[0] for word in words if isinstance(word, list) and len(word) == 1] if isinstance(words, list) else []
    return list(dict.fromkeys([*_checked("bad_words_ids", single), *_ids(config, "suppress_tokens")]))


def _ids(config: TokenizerConfig, key: str) -> list[int]:
    value = config.value(key)
    return _checked(key, value if isinstance(value, list) else _as_list(value))


def _checked(key: str, values: list[Any]) -> list[int]:
    for value in values:
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < MAXIMUM_ID:
            raise OpenbookError(f"config.json or generation_config.json: {key} is not a token id")
    return values


def _as_list(value: Any) -> list[Any]:
    return [] if value is None else [value]


def _first(ids: Sequence[int]) -> int | None:
    return ids[0] if ids else None
