"""SentencePiece vocabularies as tokenizers of the `tokenizers` library, with the same ids."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from tokenizers import AddedToken, Regex, decoders, models, normalizers
from tokenizers import Tokenizer as Backend

from openbook.errors import OpenbookError
from openbook.interop.tokenizers.sentencepiece import Kind, Model, Piece

SPACE = "▁"
"""How SentencePiece writes a space (U+2581)."""
HIDDEN = "\uf8ff"
"""Begins pieces that have an id but must not be found in text; decoding leaves it out. (A private-use character.)"""

_TEXT = (Kind.NORMAL, Kind.USER_DEFINED)


def to_backend(model: Model) -> Backend:
    """The tokenizer of a SentencePiece model. Raises OpenbookError where the library takes it for none."""
    model = replace(model, pieces=[_hidden(piece) if piece.kind == Kind.UNUSED else piece for piece in model.pieces])
    try:
        backend = Backend(_unigram(model) if model.unigram else _byte_pairs(model))
        if (normalizer := _normalizer(model)) is not None:
            backend.normalizer = normalizer
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # the library's Rust panics are no Exception
        raise OpenbookError(f"its vocabulary or character map is damaged ({str(error)[:100]})") from None
    backend.decoder = _decoder(model)
    backend.add_tokens([added for piece in model.pieces if (added := _added(piece, model.unigram)) is not None])
    return backend


def by_ids(model: Model, ids: Mapping[str, int], special: Sequence[str]) -> Model:
    """The same pieces under other ids, as a `vocab.json` beside the model gives them.

    Entries that the model does not have are special tokens, if `special` names them, or have an id and are not found
    in text (those of the other language, where two models share one table).
    """
    if sorted(ids.values()) != list(range(len(ids))):
        raise OpenbookError("vocab.json: its ids are not the numbers from 0 on, each once")
    known = {piece.text: piece for piece in model.pieces}
    lowest = min((piece.score for piece in model.pieces if piece.kind in _TEXT), default=0.0)
    pieces = []
    for text in sorted(ids, key=ids.__getitem__):
        if text in special or (text in known and known[text].kind == Kind.UNKNOWN):
            pieces.append(Piece(text, 0.0, Kind.CONTROL))
        else:
            pieces.append(known.get(text) or Piece(text, lowest, Kind.UNUSED))
    unknown = model.pieces[model.unknown].text
    if unknown not in ids:
        raise OpenbookError(f"vocab.json: has no {unknown!r}, which stands for the unknown")
    return replace(model, pieces=pieces, unknown=ids[unknown])


def rearranged(model: Model, first: Sequence[str], skipped: int, last: Sequence[str]) -> Model:
    """The same pieces with other special tokens before them (in place of the first `skipped`) and after them."""
    control = [[Piece(text, 0.0, Kind.CONTROL) for text in texts] for texts in (first, last)]
    pieces = [*control[0], *model.pieces[skipped:], *control[1]]
    unknown = model.pieces[model.unknown].text
    places = [number for number, piece in enumerate(pieces) if piece.text == unknown]
    if len(places) != 1 or len({piece.text for piece in pieces}) < len(pieces):
        raise OpenbookError(f"the pieces do not fit the model's layout: a token, or {unknown!r}, is missing or twice")
    return replace(model, pieces=pieces, unknown=places[0])


def _hidden(piece: Piece) -> Piece:
    return replace(piece, text=HIDDEN + piece.text)


def _added(piece: Piece, unigram: bool) -> AddedToken | None:
    """Special tokens, and where pairs are merged the words that are found before anything else."""
    if piece.kind in (Kind.CONTROL, Kind.UNKNOWN):
        return AddedToken(piece.text, normalized=False, special=True)
    if piece.kind == Kind.USER_DEFINED and not unigram and SPACE not in piece.text:  # text has spaces, not marks
        return AddedToken(piece.text, normalized=False, special=False)
    return None


def _unigram(model: Model) -> models.Unigram:
    best = max((piece.score for piece in model.pieces if piece.kind == Kind.NORMAL), default=0.0)

    def score(piece: Piece) -> float:
        """A word that is never split scores as if each of its characters were the best piece (unigram_model.cc)."""
        return len(piece.text) * best - 0.1 if piece.kind == Kind.USER_DEFINED else piece.score

    vocabulary = [(piece.text, score(piece)) for piece in model.pieces]
    return models.Unigram(vocabulary, model.unknown, model.byte_fallback)


def _byte_pairs(model: Model) -> models.BPE:
    ids = {piece.text: number for number, piece in enumerate(model.pieces)}
    unknown = model.pieces[model.unknown].text
    merges = list(_merges(model.pieces))
    return models.BPE(ids, merges, unk_token=unknown, fuse_unk=True, byte_fallback=model.byte_fallback)


def _merges(pieces: Sequence[Piece]) -> Iterator[tuple[str, str]]:
    """Every way to put a piece together from two others: the piece of the best score first, then the longer left."""
    texts = {piece.text for piece in pieces if piece.kind in _TEXT}
    for piece in sorted(pieces, key=lambda piece: -piece.score):
        if piece.kind in _TEXT:
            for cut in range(len(piece.text) - 1, 0, -1):
                left, right = piece.text[:cut], piece.text[cut:]
                if left in texts and right in texts:
                    yield left, right


def _normalizer(model: Model) -> normalizers.Normalizer | None:
    """Characters mapped, spaces taken out that are too many, the mark of a space put first, spaces marked."""
    steps: list[normalizers.Normalizer] = []
    if model.character_map:
        steps.append(normalizers.Precompiled(model.character_map))
    if model.fewer_spaces:
        steps += [normalizers.Replace(Regex(r"\A +"), ""), normalizers.Replace(Regex(" +"), " ")]
    if model.space_before:
        steps.append(normalizers.Prepend(SPACE))
    steps.append(normalizers.Replace(" ", SPACE))
    if model.fewer_spaces:
        steps.append(normalizers.Replace(Regex(rf"{SPACE}+\z"), ""))
    return normalizers.Sequence(steps)


def _decoder(model: Model) -> decoders.Decoder:
    steps: list[decoders.Decoder] = [decoders.Replace(HIDDEN, ""), decoders.Replace(SPACE, " ")]
    if model.byte_fallback:
        steps.append(decoders.ByteFallback())
    steps.append(decoders.Fuse())
    if model.space_before:
        steps.append(decoders.Strip(" ", 1, 0))
    return decoders.Sequence(steps)
