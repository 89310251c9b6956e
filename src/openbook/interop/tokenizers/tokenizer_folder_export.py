"""Writes the tokenizer files of a folder, for other programs to load."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer as Backend

from openbook.interop.tokenizers.post_processor import added_tokens, set_added_tokens
from openbook.interop.tokenizers.tokenizer_config import FLAGS
from openbook.text.tokenizer.special_tokens import SpecialTokens


def write_tokenizer(
    folder: Path,
    tokenizer: str,
    special: SpecialTokens,
    chat_template: str | None = None,
    *,
    context: int | None = None,
    settings: Mapping[str, Any] | None = None,
) -> None:
    """Write tokenizer.json, tokenizer_config.json, special_tokens_map.json and, if there is one, chat_template.jinja.

    Args:
        folder: exists already.
        tokenizer: the text of a tokenizer.json.
        special: the roles of its special tokens.
        chat_template: a Jinja template.
        context: the most tokens that the model reads.
        settings: more for tokenizer_config.json, such as another `tokenizer_class`.
    """
    backend = Backend.from_str(tokenizer)
    languages = set(special.languages.values())
    around = [tuple(token_id for token_id in side if token_id not in languages) for side in added_tokens(backend)]
    if around != [special.prefix, special.suffix]:
        set_added_tokens(backend, special.prefix, special.suffix)
        tokenizer = str(backend.to_str())
    names = {role: backend.id_to_token(token_id) for role, token_id in special.named_roles().items()}
    names = {role: name for role, name in names.items() if name is not None}
    added = backend.get_added_tokens_decoder()
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        **names,
        "added_tokens_decoder": {
            str(token_id): {"content": token.content, **{flag: getattr(token, flag) for flag in FLAGS}}
            for token_id, token in sorted(added.items())
        },
        **({} if context is None else {"model_max_length": context}),
        **(settings or {}),
    }
    (folder / "tokenizer.json").write_text(tokenizer, encoding="utf-8")
    for name, value in (("tokenizer_config.json", config), ("special_tokens_map.json", names)):
        (folder / name).write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    if chat_template is not None:
        (folder / "chat_template.jinja").write_text(chat_template, encoding="utf-8")
