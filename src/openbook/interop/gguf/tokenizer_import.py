"""The tokenizer in a GGUF file's fields."""

from typing import Any

from tokenizers import AddedToken, normalizers
from tokenizers import Tokenizer as Backend

from openbook.errors import OpenbookError
from openbook.interop.gguf.pre_tokenizers import ALIASES, PRE_TOKENIZER_OF, PRE_TOKENIZERS
from openbook.interop.tokenizers import ImportedTokenizer
from openbook.interop.tokenizers.byte_level_bpe import build_byte_level_bpe
from openbook.interop.tokenizers.chat_template_files import MAXIMUM_TEMPLATE
from openbook.interop.tokenizers.post_processor import set_added_tokens
from openbook.interop.tokenizers.sentencepiece_backend import to_backend
from openbook.interop.tokenizers.sentencepiece_model import Piece, PieceType, SentencePieceModel
from openbook.text.printable import excerpt
from openbook.text.strict_json import DAMAGED
from openbook.text.tokenizer.bounds import check_added_tokens
from openbook.text.tokenizer.byte_level import byte_level_pre_tokenizer
from openbook.text.tokenizer.special_tokens import SpecialTokens

PREFIX = "tokenizer.ggml."
BYTE_LEVEL, SENTENCEPIECE = "gpt2", "llama"
"""The values of tokenizer.ggml.model that can be read."""
ENDS = ("eos_token_id", "eot_token_id", "eom_token_id")


def read_tokenizer(fields: dict[str, Any]) -> ImportedTokenizer:
    """The tokenizer, what its special tokens are for, and the chat template.

    Raises OpenbookError naming the field and the cure.
    """
    kind = fields.get(f"{PREFIX}model")
    tokens = _list(fields, "tokens", str)
    kinds = _list(fields, "token_type", int, len(tokens)) or [1] * len(tokens)
    if len(set(tokens)) < len(tokens):
        raise OpenbookError(f"field {PREFIX}tokens: a token is there twice; {DAMAGED}")
    if not set(kinds) <= set(PieceType):
        raise OpenbookError(f"field {PREFIX}token_type: has a number that is no type; {DAMAGED}")
    if kind == BYTE_LEVEL:
        backend, beginning = _byte_level(fields, tokens, kinds)
    elif kind == SENTENCEPIECE:
        backend, beginning = _pieces(fields, tokens, kinds), True
    else:
        raise OpenbookError(f"field {PREFIX}model: {excerpt(str(kind))} is not {BYTE_LEVEL} or {SENTENCEPIECE}")
    special = _special(fields, len(tokens), beginning)
    set_added_tokens(backend, special.prefix, special.suffix)
    template = fields.get("tokenizer.chat_template")
    if template is not None and (not isinstance(template, str) or len(template) > MAXIMUM_TEMPLATE):
        raise OpenbookError(f"field tokenizer.chat_template: is no text of at most {MAXIMUM_TEMPLATE:,} characters")
    return ImportedTokenizer(str(backend.to_str()), special, None, template or None)


def _byte_level(fields: dict[str, Any], tokens: list[str], kinds: list[int]) -> tuple[Backend, bool]:
    """Byte-level BPE, and whether prompts get the beginning token where the file does not say."""
    name = fields.get(f"{PREFIX}pre", PRE_TOKENIZER_OF.get(str(fields.get("general.architecture"))))
    pre_tokenizer = PRE_TOKENIZERS.get(ALIASES.get(name, name)) if isinstance(name, str) else None
    if pre_tokenizer is None:
        found = "is missing, so" if name is None else f"{excerpt(str(name))} is not known here, and"
        raise OpenbookError(
            f"field {PREFIX}pre: {found} it is unknown how its tokenizer splits text into words (known are "
            f"{', '.join(PRE_TOKENIZERS)}); import the model's Hugging Face folder, whose tokenizer.json says how"
        )
    merges = []
    for merge in _list(fields, "merges", str):
        left, _, right = merge.partition(" ")
        merges.append((left, right))
    words = byte_level_pre_tokenizer(*pre_tokenizer.patterns)
    ids = {
        token: number
        for number, (token, kind) in enumerate(zip(tokens, kinds, strict=True))
        if not _stands_for_nothing(token, number, kind)
    }
    backend = build_byte_level_bpe(ids, merges, words, pre_tokenizer.ignore_merges)
    if pre_tokenizer.unicode_form is not None:
        backend.normalizer = normalizers.NFC()
    added = [
        AddedToken(token, normalized=False, special=kind != PieceType.USER_DEFINED)
        for token, kind in zip(tokens, kinds, strict=True)
        if kind in (PieceType.CONTROL, PieceType.UNKNOWN, PieceType.USER_DEFINED)
    ]
    check_added_tokens(token.content for token in added)
    backend.add_tokens(added)
    return backend, pre_tokenizer.add_bos


def _pieces(fields: dict[str, Any], tokens: list[str], kinds: list[int]) -> Backend:
    scores = _list(fields, "scores", float, len(tokens)) or [0.0] * len(tokens)
    pieces = [Piece(text, score, PieceType(kind)) for text, score, kind in zip(tokens, scores, kinds, strict=True)]
    while pieces and _stands_for_nothing(pieces[-1].text, len(pieces) - 1, pieces[-1].type):
        pieces.pop()
    unknown = fields.get(f"{PREFIX}unknown_token_id")
    known = [number for number, piece in enumerate(pieces) if piece.type == PieceType.UNKNOWN]
    unknown = unknown if isinstance(unknown, int) else known[0] if known else 0
    if not 0 <= unknown < len(pieces) or not all(tokens):
        raise OpenbookError(f"field {PREFIX}tokens: one has no text, or none stands for the unknown; {DAMAGED}")
    model = SentencePieceModel(
        pieces=pieces,
        unigram=False,
        byte_fallback=sum(piece.type == PieceType.BYTE for piece in pieces) == 256,
        unk_id=unknown,
        add_dummy_prefix=fields.get(f"{PREFIX}add_space_prefix", True) is True,
        remove_extra_whitespaces=fields.get(f"{PREFIX}remove_extra_whitespaces", False) is True,
    )
    return to_backend(model)


def _stands_for_nothing(token: str, number: int, kind: int) -> bool:
    """Whether it is what converters write where a row of the embedding has no token."""
    return kind == PieceType.UNUSED and token == placeholder(number)


def placeholder(number: int) -> str:
    """The name of an id without a token."""
    return f"[PAD{number}]"


def _special(fields: dict[str, Any], size: int, beginning_default: bool) -> SpecialTokens:
    def maybe(name: str) -> int | None:
        value = fields.get(PREFIX + name)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < size):
            raise OpenbookError(f"field {PREFIX}{name}: {excerpt(str(value))} is no token; {DAMAGED}")
        return value

    end = [number for name in ENDS if (number := maybe(name)) is not None]
    if not end:
        raise OpenbookError(f"field {PREFIX}eos_token_id is missing, which ends a text; convert the file again")
    beginning = maybe("bos_token_id")
    wanted = fields.get(f"{PREFIX}add_bos_token", beginning_default) is True and beginning is not None
    return SpecialTokens(
        end=tuple(dict.fromkeys(end)),
        beginning=beginning,
        padding=maybe("padding_token_id"),
        unknown=maybe("unknown_token_id"),
        separator=maybe("seperator_token_id"),  # so spelled
        prefix=(beginning,) if wanted and beginning is not None else (),
    )


def _list(fields: dict[str, Any], name: str, kind: type, length: int | None = None) -> list[Any]:
    values = fields.get(PREFIX + name, [] if name != "tokens" else None)
    if not isinstance(values, list) or not all(isinstance(value, kind) for value in values):
        raise OpenbookError(f"field {PREFIX}{name}: is missing, or of another kind; {DAMAGED}")
    if length is not None and values and len(values) != length:
        raise OpenbookError(f"field {PREFIX}{name}: has {len(values):,} entries, not {length:,}; {DAMAGED}")
    return values
