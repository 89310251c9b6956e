"""The tokens that a `tokenizers` backend puts around text: its post-processor."""

from collections.abc import Sequence

from tokenizers import Tokenizer as Backend
from tokenizers import processors

from openbook.text.tokenizer.panics import panics_named


def added_tokens(backend: Backend) -> tuple[list[int], list[int]]:
    """Ids of the tokens that the backend puts before and after a text when it is asked to add special tokens."""
    with panics_named():
        encoding = backend.encode("a")
    text = [index for index, special in enumerate(encoding.special_tokens_mask) if not special]
    if not text:  # the vocabulary lacks this letter: everything there is stands before it
        return encoding.ids, []
    return encoding.ids[: text[0]], encoding.ids[text[-1] + 1 :]


def set_added_tokens(backend: Backend, prefix: Sequence[int], suffix: Sequence[int]) -> None:
    """Let the backend put these tokens around text when it is asked to add special tokens."""
    names = {token_id: backend.id_to_token(token_id) for token_id in [*prefix, *suffix]}
    before, after = [f"<{token_id}>" for token_id in prefix], [f"<{token_id}>" for token_id in suffix]
    backend.post_processor = processors.TemplateProcessing(
        single=[*before, "$A", *after],
        pair=[*before, "$A", *after, "$B:1", *(f"{each}:1" for each in after)],
        special_tokens=[
            {"id": f"<{token_id}>", "ids": [token_id], "tokens": [name]} for token_id, name in names.items()
        ],
    )
