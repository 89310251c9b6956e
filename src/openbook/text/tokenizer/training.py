"""Vocabularies learned from text: byte-level BPE and unigram, bytes, characters, words."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal, get_args

from tokenizers import Regex, decoders, models, pre_tokenizers, trainers
from tokenizers import Tokenizer as Backend

from openbook.errors import OpenbookError
from openbook.progress import Advance, Track, silent
from openbook.text.corpus.chunking import token_safe
from openbook.text.tokenizer.byte_decoder import BYTE_OF_CHARACTER
from openbook.text.tokenizer.special_tokens import END, UNKNOWN, SpecialTokens
from openbook.text.tokenizer.tokenizer import Tokenizer

Kind = Literal["bpe", "unigram", "bytes", "characters", "words"]

SAMPLE = 64 << 20
"""Bytes of text to train a tokenizer on; more would not change it noticeably."""

CHUNK = 1 << 16
"""Characters; the library counts chunks in parallel."""

# A split that other tools know by name, so that models can go there (docs/decisions.md).
BPE_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# Words and punctuation marks with the space before them; so joining tokens gives back the text.
WORD_SPLIT = r" ?[\p{L}\p{M}\p{N}_]+(?:['’][\p{L}\p{M}]+)*| ?[^\s\p{L}\p{M}\p{N}_]|\n+|\s"


def choose_vocabulary(text_bytes: int, kind: Kind = "bpe") -> int:
    """A vocabulary size for an amount of text: for BPE 4,096 at 1 MB, doubling with four times the text, 512 to 32,768.

    A larger vocabulary lets a step cover more text; a token must still occur often enough to be learned.
    """
    if kind == "bytes":
        return 257
    if kind == "characters":
        return 8192  # at most; most books have about a hundred
    size = 2 ** math.floor(math.log2(4096 * math.sqrt(max(1, text_bytes) / 1e6) + 1))
    return min(max(size, 512), 32768) if kind in ("bpe", "unigram") else min(max(2 * size, 512), 65536)


def train_tokenizer(
    pieces: Iterable[str],
    kind: Kind = "bpe",
    vocab_size: int | None = None,
    special_tokens: Sequence[str] = (END,),
    *,
    sentences: bool = False,
    track: Track = silent,
) -> Tokenizer:
    """Learn a vocabulary of at most so many tokens, the special ones included, from text (see `Split.sample`).

    `vocabulary` defaults to the choice for a megabyte. The first special token ends texts. `sentences` says that each
    piece is a text of its own, else they are one running text. Raises OpenbookError for an unknown kind, a vocabulary
    too small for the kind, and text without any characters or words.
    """
    if kind not in get_args(Kind):
        raise OpenbookError(f"tokenizer {kind!r}: must be one of {', '.join(get_args(Kind))}")
    if vocab_size is None:
        vocab_size = choose_vocabulary(1_000_000, kind)
    least = len(special_tokens) + (256 if kind in ("bpe", "unigram", "bytes") else 2)
    if vocab_size < least:
        raise OpenbookError(f"vocabulary {vocab_size:,}: a tokenizer of {kind} needs at least {least:,}")
    with track("Training the tokenizer", None) as advance:
        texts = pieces if sentences else token_safe(pieces, CHUNK)
        backend = LEARN[kind](_counted(texts, advance), vocab_size - len(special_tokens))
    backend.add_special_tokens(list(special_tokens))
    return Tokenizer(backend, SpecialTokens.named(backend.token_to_id, special_tokens[0]))


def _counted(pieces: Iterable[str], advance: Advance) -> Iterator[str]:
    for piece in pieces:
        yield piece
        advance(len(piece))


def _byte_level(model: models.Model) -> Backend:
    """A tokenizer that spells any text: words are split off, then become bytes, which the model joins."""
    backend = Backend(model)
    split = pre_tokenizers.Split(Regex(BPE_SPLIT), "isolated")
    to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.pre_tokenizer = pre_tokenizers.Sequence([split, to_bytes])
    backend.decoder = decoders.ByteLevel()
    return backend


def _learn_unigram(pieces: Iterator[str], vocab_size: int) -> Backend:
    """The pieces whose likelihoods explain the text best (Kudo 2018, section 3.2)."""
    backend = _byte_level(models.Unigram())
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.UnigramTrainer(vocab_size=vocab_size, initial_alphabet=alphabet, show_progress=False)
    backend.train_from_iterator(pieces, trainer)
    return backend


def _learn_bpe(pieces: Iterator[str], vocab_size: int) -> Backend:
    """Pairs of tokens, joined in the order of how often they stand together (Sennrich et al. 2016)."""
    backend = _byte_level(models.BPE())
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(pieces, trainer)
    return backend


def _learn_bytes(pieces: Iterator[str], vocab_size: int) -> Backend:
    """Nothing to learn: the id of a byte is its value."""
    backend = Backend(models.BPE(BYTE_OF_CHARACTER, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    return backend


def _learn_characters(pieces: Iterator[str], vocab_size: int) -> Backend:
    counts: Counter[str] = Counter()
    for piece in pieces:
        counts.update(piece)
    if not counts:
        raise OpenbookError("tokenizer: no text to find characters in; name some books")
    frequent = sorted(counts, key=lambda character: (-counts[character], character))[: vocab_size - 1]
    ids = {character: number for number, character in enumerate([UNKNOWN, *sorted(frequent)])}
    backend = Backend(models.BPE(ids, [], unk_token=UNKNOWN, fuse_unk=False))  # byte pairs, of which none are merged
    backend.decoder = decoders.Fuse()
    backend.add_special_tokens([UNKNOWN])
    return backend


def _learn_words(pieces: Iterator[str], vocab_size: int) -> Backend:
    backend = Backend(models.WordLevel({}, UNKNOWN))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(WORD_SPLIT), "isolated")
    backend.decoder = decoders.Fuse()
    trainer = trainers.WordLevelTrainer(vocab_size=vocab_size, special_tokens=[UNKNOWN], show_progress=False)
    backend.train_from_iterator(pieces, trainer)
    if backend.get_vocab_size() == 1:
        raise OpenbookError("tokenizer: no text to find words in; name some books")
    return backend


LEARN: dict[Kind, Callable[[Iterator[str], int], Backend]] = {
    "bpe": _learn_bpe,
    "unigram": _learn_unigram,
    "bytes": _learn_bytes,
    "characters": _learn_characters,
    "words": _learn_words,
}
