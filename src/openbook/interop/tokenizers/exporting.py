"""A folder's tokenizer files, for other programs to load."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer as Backend

from openbook.interop.tokenizers.special_tokens import set_template, template_of
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
        special: what its special tokens are for.
        chat_template: a Jinja template.
        context: the most tokens that the model reads.
        settings: more for tokenizer_config.json, such as another `tokenizer_class`.
    """
    backend = Backend.from_str(tokenizer)
    codes = set(special.languages.values())
    around = [tuple(number for number in side if number not in codes) for side in template_of(backend)]
    if around != [special.prefix, special.suffix]:
        set_template(backend, special.prefix, special.suffix)
        tokenizer = str(backend.to_str())
    roles = {
        "bos_token": special.beginning,
        "eos_token": special.end[0],
        "pad_token": special.padding,
        "unk_token": special.unknown,
        "sep_token": special.separator,
    }
    names = {role: backend.id_to_token(number) for role, number in roles.items() if number is not None}
    names = {role: name for role, name in names.items() if name is not None}
    added = backend.get_added_tokens_decoder()
    flags = ("lstrip", "rstrip", "normalized", "single_word", "special")
    configuration: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        **names,
        "added_tokens_decoder": {
            str(number): {"content": token.content, **{flag: getattr(token, flag) for flag in flags}}
            for number, token in sorted(added.items())
        },
        **({} if context is None else {"model_max_length": context}),
        **(settings or {}),
    }
    (folder / "tokenizer.json").write_text(tokenizer, encoding="utf-8")
    for name, value in (("tokenizer_config.json", configuration), ("special_tokens_map.json", names)):
        (folder / name).write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    if chat_template is not None:
        (folder / "chat_template.jinja").write_text(chat_template, encoding="utf-8")
