"""Trains tokenizers on text: byte-level BPE and unigram, bytes, characters, words."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal, get_args

from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers import Tokenizer as Backend

from openbook.errors import OpenbookError
from openbook.progress import Advance, Track, silent
from openbook.text.corpus.chunking import token_safe_chunks
from openbook.text.tokenizer.byte_level import BYTE_OF_CHARACTER, byte_level_pre_tokenizer
from openbook.text.tokenizer.special_tokens import END, UNKNOWN, SpecialTokens
from openbook.text.tokenizer.tokenizer import Tokenizer

TokenizerType = Literal["bpe", "unigram", "bytes", "characters", "words"]

TRAINING_SAMPLE_BYTES = 64 << 20
"""Of text to train a tokenizer on; more would not change it noticeably."""

CHUNK = 1 << 16
"""Characters; the library counts chunks in parallel."""

# o200k's pattern, which other programs know by name, so that exported models work there (docs/decisions.md). It keeps
# the marks of Hindi, Thai or Hebrew with their letters.
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_START, _ENDING = r"[^\r\n\p{L}\p{N}]?", r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
BPE_PATTERN = (
    rf"{_START}{_UPPER}*{_LOWER}+{_ENDING}|{_START}{_UPPER}+{_LOWER}*{_ENDING}|\p{{N}}{{1,3}}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# Words and punctuation marks with the space before them, so that joined tokens give back the text.
WORD_PATTERN = r" ?[\p{L}\p{M}\p{N}_]+(?:['’][\p{L}\p{M}]+)*| ?[^\s\p{L}\p{M}\p{N}_]|\n+|\s"


def choose_vocab_size(text_bytes: int, kind: TokenizerType = "bpe") -> int:
    """A vocabulary size for an amount of text: for BPE 4,096 at 1 MB, doubling with four times the text, 512 to 32,768.

    With a larger vocabulary a step covers more text, but each token must occur often enough to be learned.
    """
    if kind == "bytes":
        return 257
    if kind == "characters":
        return 8192  # at most; most books have about a hundred
    size = 2 ** math.floor(math.log2(4096 * math.sqrt(max(1, text_bytes) / 1e6) + 1))
    return min(max(size, 512), 32768) if kind in ("bpe", "unigram") else min(max(2 * size, 512), 65536)


def train_tokenizer(
    chunks: Iterable[str],
    kind: TokenizerType = "bpe",
    vocab_size: int | None = None,
    special_tokens: Sequence[str] = (END,),
    *,
    sentences: bool = False,
    track: Track = silent,
) -> Tokenizer:
    """Train a tokenizer.

    The words of sentences have a space before them, the first word too, so that a word is one token wherever it stands.

    Args:
        chunks: the text (see `Split.sample`).
        kind: the type of vocabulary.
        vocab_size: the most tokens, special ones included; None: what suits a megabyte of text.
        special_tokens: their names; the first one ends texts.
        sentences: each chunk is a text of its own; otherwise the chunks are one running text.
        track: shows progress.

    Raises:
        OpenbookError: the type is unknown, the vocabulary is too small for it, or the text has no characters or words.
    """
    if kind not in get_args(TokenizerType):
        raise OpenbookError(f"tokenizer {kind!r}: must be one of {', '.join(get_args(TokenizerType))}")
    if vocab_size is None:
        vocab_size = choose_vocab_size(1_000_000, kind)
    least = len(special_tokens) + (256 if kind in ("bpe", "unigram", "bytes") else 2)
    if vocab_size < least:
        raise OpenbookError(f"vocabulary {vocab_size:,}: a tokenizer of {kind} needs at least {least:,}")
    with track("Training the tokenizer", None) as advance:
        texts = chunks if sentences else token_safe_chunks(chunks, CHUNK)
        train = _train_sentence_words if sentences and kind == "words" else TRAINERS[kind]
        backend = train(_counted(texts, advance), vocab_size - len(special_tokens))
    backend.add_special_tokens(list(special_tokens))
    return Tokenizer(backend, SpecialTokens.from_names(backend.token_to_id, special_tokens[0]))


def split_words(text: str) -> list[str]:
    """The words and punctuation marks of a sentence, as a tokenizer of words trained on sentences sees them."""
    pieces = pre_tokenizers.Split(Regex(WORD_PATTERN), "isolated").pre_tokenize_str(f" {text}")
    return [piece for piece, _ in pieces]


def _counted(texts: Iterable[str], advance: Advance) -> Iterator[str]:
    for text in texts:
        yield text
        advance(len(text))


def _byte_level(model: models.Model) -> Backend:
    """A tokenizer for any text: it splits off words and turns them into bytes, which the model merges."""
    backend = Backend(model)
    backend.pre_tokenizer = byte_level_pre_tokenizer(BPE_PATTERN)
    backend.decoder = decoders.ByteLevel()
    return backend


def _train_unigram(texts: Iterator[str], vocab_size: int) -> Backend:
    """The pieces that make the text most likely (Kudo 2018, section 3.2)."""
    backend = _byte_level(models.Unigram())
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.UnigramTrainer(vocab_size=vocab_size, initial_alphabet=alphabet, show_progress=False)
    backend.train_from_iterator(texts, trainer)
    return backend


def _train_bpe(texts: Iterator[str], vocab_size: int) -> Backend:
    """Merges of the most frequent pairs of tokens (Sennrich et al. 2016)."""
    backend = _byte_level(models.BPE(ignore_merges=True))  # as programs assume that know the pattern
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    return backend


def _train_bytes(texts: Iterator[str], vocab_size: int) -> Backend:
    """Nothing to learn: the id of a byte is its value."""
    backend = Backend(models.BPE(BYTE_OF_CHARACTER, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    return backend


def _train_characters(texts: Iterator[str], vocab_size: int) -> Backend:
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(text)
    if not counts:
        raise OpenbookError("tokenizer: no text to find characters in; name some books")
    frequent = sorted(counts, key=lambda character: (-counts[character], character))[: vocab_size - 1]
    ids = {character: number for number, character in enumerate([UNKNOWN, *sorted(frequent)])}
    backend = Backend(models.BPE(ids, [], unk_token=UNKNOWN, fuse_unk=False))  # BPE without merges
    backend.decoder = decoders.Fuse()
    backend.add_special_tokens([UNKNOWN])
    return backend


def _train_words(texts: Iterator[str], vocab_size: int) -> Backend:
    backend = Backend(models.WordLevel({}, UNKNOWN))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(WORD_PATTERN), "isolated")
    backend.decoder = decoders.Fuse()
    trainer = trainers.WordLevelTrainer(vocab_size=vocab_size, special_tokens=[UNKNOWN], show_progress=False)
    backend.train_from_iterator(texts, trainer)
    if backend.get_vocab_size() == 1:
        raise OpenbookError("tokenizer: no text to find words in; name some books")
    return backend


def _train_sentence_words(texts: Iterator[str], vocab_size: int) -> Backend:
    """The same, with a space before each text, which decoding removes."""
    backend = _train_words((f" {text}" for text in texts), vocab_size)
    backend.normalizer = normalizers.Prepend(" ")
    backend.decoder = decoders.Sequence([decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    return backend


TRAINERS: dict[TokenizerType, Callable[[Iterator[str], int], Backend]] = {
    "bpe": _train_bpe,
    "unigram": _train_unigram,
    "bytes": _train_bytes,
    "characters": _train_characters,
    "words": _train_words,
}
