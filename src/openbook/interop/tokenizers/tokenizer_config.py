"""The JSON files beside a tokenizer that say what its special tokens are for."""

from pathlib import Path
from typing import Any

from openbook.errors import OpenbookError
from openbook.interop.tokenizers.bounded_files import read_optional

MAXIMUM_BYTES = 64 << 20
FLAGS = ("lstrip", "rstrip", "normalized", "single_word", "special")
"""Of an added token."""


class TokenizerConfig:
    """What tokenizer_config.json, special_tokens_map.json, added_tokens.json and the model's configuration say."""

    def __init__(self, folder: Path) -> None:
        """Raises OpenbookError for a file that is not a JSON object."""
        self.tokenizer = read_optional(folder / "tokenizer_config.json", MAXIMUM_BYTES)
        self._special_tokens_map = read_optional(folder / "special_tokens_map.json", MAXIMUM_BYTES)
        self._added_tokens = read_optional(folder / "added_tokens.json", MAXIMUM_BYTES)
        model = read_optional(folder / "config.json", MAXIMUM_BYTES)
        inner = model.get("text_config")
        self._model = {**model, **inner} if isinstance(inner, dict) else model
        self._generation = read_optional(folder / "generation_config.json", MAXIMUM_BYTES)

    def token(self, role: str) -> str | None:
        """The name of the token in a role such as eos_token."""
        value = self.tokenizer.get(role) or self._special_tokens_map.get(role)
        value = value.get("content") if isinstance(value, dict) else value
        return value if isinstance(value, str) and value else None

    def value(self, key: str) -> Any:
        """A setting of generation or, if it has none, of the model."""
        value = self._generation.get(key)
        return self._model.get(key) if value is None else value

    @property
    def adds_tokens(self) -> dict[str, bool]:
        """add_bos_token and add_eos_token, where the files have them."""
        flags = {key: self.tokenizer.get(key) for key in ("add_bos_token", "add_eos_token")}
        return {key: value for key, value in flags.items() if isinstance(value, bool)}

    @property
    def encoder_decoder(self) -> bool:
        """Whether the model has an encoder."""
        return self._model.get("is_encoder_decoder") is True

    def added_tokens(self) -> list[tuple[int, str, dict[str, bool]]]:
        """(id, name, flags) of each added token, in the order of the ids."""
        found: dict[int, tuple[str, dict[str, bool]]] = {}
        listed = self.tokenizer.get("added_tokens_decoder")
        for key, entry in (listed if isinstance(listed, dict) else {}).items():
            if not key.isdigit() or not isinstance(entry, dict) or not isinstance(entry.get("content"), str):
                raise OpenbookError("tokenizer_config.json: added_tokens_decoder should map ids to tokens")
            found[int(key)] = entry["content"], {flag: entry.get(flag) is True for flag in FLAGS}
        for name, token_id in self._added_tokens.items():
            if isinstance(token_id, int) and token_id not in found:
                found[token_id] = name, {"special": True}
        return [(token_id, *found[token_id]) for token_id in sorted(found)]
