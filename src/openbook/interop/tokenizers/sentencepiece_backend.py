"""SentencePiece models as backends of the `tokenizers` library, with the same ids."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from tokenizers import AddedToken, Regex, decoders, models, normalizers
from tokenizers import Tokenizer as Backend

from openbook.errors import OpenbookError
from openbook.interop.tokenizers.sentencepiece_model import Piece, PieceType, SentencePieceModel
from openbook.text.tokenizer.bounds import check_added_tokens

META_SPACE = "▁"
"""How SentencePiece writes a space (U+2581)."""
HIDDEN_PREFIX = "\uf8ff"
"""A private-use character before pieces that have an id but must not be found in text; decoding leaves it out."""

_TEXT_TYPES = (PieceType.NORMAL, PieceType.USER_DEFINED)


def to_backend(model: SentencePieceModel) -> Backend:
    """The backend that encodes as a SentencePiece model does.

    Raises:
        OpenbookError: the library does not accept the model.
    """
    pieces = [_hide(piece) if piece.type == PieceType.UNUSED else piece for piece in model.pieces]
    model = replace(model, pieces=pieces)
    try:
        backend = Backend(_unigram(model) if model.unigram else _bpe(model))
        backend.normalizer = _normalizer(model)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # the library's Rust panics are not Exceptions
        raise OpenbookError(f"its vocabulary or character map is damaged ({str(error)[:100]})") from None
    backend.decoder = _decoder(model)
    added = [added for piece in model.pieces if (added := _added(piece, model.unigram)) is not None]
    check_added_tokens(token.content for token in added)
    backend.add_tokens(added)
    return backend


def with_ids(model: SentencePieceModel, ids: Mapping[str, int], special: Sequence[str]) -> SentencePieceModel:
    """The same pieces under other ids, as a `vocab.json` beside the model gives them.

    Entries that the model lacks are special tokens if `special` names them. Otherwise they have an id and are not found
    in text (those of the other language, where two models share one table).
    """
    if sorted(ids.values()) != list(range(len(ids))):
        raise OpenbookError("vocab.json: its ids are not the numbers from 0 on, each once")
    known = {piece.text: piece for piece in model.pieces}
    lowest = min((piece.score for piece in model.pieces if piece.type in _TEXT_TYPES), default=0.0)
    pieces = []
    for text in sorted(ids, key=ids.__getitem__):
        if text in special or (text in known and known[text].type == PieceType.UNKNOWN):
            pieces.append(Piece(text, 0.0, PieceType.CONTROL))
        else:
            pieces.append(known.get(text) or Piece(text, lowest, PieceType.UNUSED))
    unknown = model.pieces[model.unk_id].text
    if unknown not in ids:
        raise OpenbookError(f"vocab.json: lacks {unknown!r}, its token for unknown text")
    return replace(model, pieces=pieces, unk_id=ids[unknown])


def with_special_tokens(
    model: SentencePieceModel, first: Sequence[str], skipped: int, last: Sequence[str]
) -> SentencePieceModel:
    """The same pieces with other special tokens before them (in place of the first `skipped`) and after them."""
    before, after = ([Piece(text, 0.0, PieceType.CONTROL) for text in texts] for texts in (first, last))
    pieces = [*before, *model.pieces[skipped:], *after]
    unknown = model.pieces[model.unk_id].text
    indices = [index for index, piece in enumerate(pieces) if piece.text == unknown]
    if len(indices) != 1 or len({piece.text for piece in pieces}) < len(pieces):
        raise OpenbookError(f"the pieces do not fit the layout: a token, or {unknown!r}, is missing or occurs twice")
    return replace(model, pieces=pieces, unk_id=indices[0])


def _hide(piece: Piece) -> Piece:
    return replace(piece, text=HIDDEN_PREFIX + piece.text)


def _added(piece: Piece, unigram: bool) -> AddedToken | None:
    """Special tokens, and in BPE the words that are found before anything else."""
    if piece.type in (PieceType.CONTROL, PieceType.UNKNOWN):
        return AddedToken(piece.text, normalized=False, special=True)
    if piece.type == PieceType.USER_DEFINED and not unigram and META_SPACE not in piece.text:  # text has real spaces
        return AddedToken(piece.text, normalized=False, special=False)
    return None


def _unigram(model: SentencePieceModel) -> models.Unigram:
    best = max((piece.score for piece in model.pieces if piece.type == PieceType.NORMAL), default=0.0)

    def score(piece: Piece) -> float:
        """A word that is never split scores as if each of its characters were the best piece (unigram_model.cc)."""
        return len(piece.text) * best - 0.1 if piece.type == PieceType.USER_DEFINED else piece.score

    vocabulary = [(piece.text, score(piece)) for piece in model.pieces]
    return models.Unigram(vocabulary, model.unk_id, model.byte_fallback)


def _bpe(model: SentencePieceModel) -> models.BPE:
    ids = {piece.text: index for index, piece in enumerate(model.pieces)}
    unknown = model.pieces[model.unk_id].text
    merges = list(_merges(model.pieces))
    return models.BPE(ids, merges, unk_token=unknown, fuse_unk=True, byte_fallback=model.byte_fallback)


def _merges(pieces: Sequence[Piece]) -> Iterator[tuple[str, str]]:
    """Every way to merge two pieces into a third: the piece of the best score first, then the longer left part."""
    texts = {piece.text for piece in pieces if piece.type in _TEXT_TYPES}
    for piece in sorted(pieces, key=lambda piece: -piece.score):
        if piece.type in _TEXT_TYPES:
            for cut in range(len(piece.text) - 1, 0, -1):
                left, right = piece.text[:cut], piece.text[cut:]
                if left in texts and right in texts:
                    yield left, right


def _normalizer(model: SentencePieceModel) -> normalizers.Normalizer:
    """Map characters, remove extra spaces, put a space first, mark spaces."""
    steps: list[normalizers.Normalizer] = []
    if model.precompiled_charsmap:
        steps.append(normalizers.Precompiled(model.precompiled_charsmap))
    if model.remove_extra_whitespaces:
        steps += [normalizers.Replace(Regex(r"\A +"), ""), normalizers.Replace(Regex(" +"), " ")]
    if model.add_dummy_prefix:
        steps.append(normalizers.Prepend(META_SPACE))
    steps.append(normalizers.Replace(" ", META_SPACE))
    if model.remove_extra_whitespaces:
        steps.append(normalizers.Replace(Regex(rf"{META_SPACE}+\z"), ""))
    return normalizers.Sequence(steps)


def _decoder(model: SentencePieceModel) -> decoders.Decoder:
    steps: list[decoders.Decoder] = [decoders.Replace(HIDDEN_PREFIX, ""), decoders.Replace(META_SPACE, " ")]
    if model.byte_fallback:
        steps.append(decoders.ByteFallback())
    steps.append(decoders.Fuse())
    if model.add_dummy_prefix:
        steps.append(decoders.Strip(" ", 1, 0))
    return decoders.Sequence(steps)
