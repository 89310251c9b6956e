"""How the prompt became tokens: split into words, and for byte-pair encoding the merges of each word, one by one."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

from openbook.text.printable import printable
from openbook.text.tokenizer.byte_level import BYTE_OF_CHARACTER
from openbook.text.tokenizer.tokenizer import Tokenizer

MAX_WORDS = 400


@dataclass(frozen=True)
class Merge:
    """Two neighbouring symbols that became one; `rank` is the place of the merge among those that training found."""

    left: str
    right: str
    rank: int
    count: int | None = None


@dataclass(frozen=True)
class Word:
    """One word of the text, as the tokenizer splits it before merging.

    Attributes:
        text: as people read it.
        symbols: the word before the first merge and after each; each a list of symbols.
        merges: what was joined from one to the next.
        tokens: the ids that it became.
    """

    text: str
    symbols: tuple[tuple[str, ...], ...]
    merges: tuple[Merge, ...]
    tokens: tuple[int, ...]


@dataclass(frozen=True)
class TokenizerReplay:
    """The whole text.

    Attributes:
        kind: of the tokenizer: BPE, Unigram, WordLevel …
        normalised: the text after normalisation, None where that changed nothing.
        words: in order.
        left_out: how many words more there are.
        note: one line: what the replay shows, and what it does not know.
    """

    kind: str
    normalised: str | None
    words: tuple[Word, ...]
    left_out: int
    note: str


def replay_tokenizer(tokenizer: Tokenizer, text: str, counts: Sequence[int] | None = None) -> TokenizerReplay:
    """Replay how `text` becomes tokens.

    Args:
        tokenizer: that encodes it.
        text: without a chat template.
        counts: how often training joined each merge, by rank, where that is known; left out if there are not as many.
    """
    parsed = _parsed(tokenizer.to_json())
    model = parsed["model"]
    kind = str(model.get("type") or "BPE")
    if counts is not None and len(counts) != len(model.get("merges", ())):
        counts = None
    normalised = tokenizer.normalize(text)
    words = tokenizer.split(normalised)
    spelling = _Spelling(parsed)
    replayed = [_word(tokenizer, spelling, word, counts) for word in words[:MAX_WORDS]]
    return TokenizerReplay(
        kind=kind,
        normalised=None if normalised == text else normalised,
        words=tuple(replayed),
        left_out=max(0, len(words) - MAX_WORDS),
        note=_note(kind, counts),
    )


def _note(kind: str, counts: Sequence[int] | None) -> str:
    if kind != "BPE":
        return {
            "Unigram": "Of all ways to cut a word into known pieces, the most probable one is taken.",
            "WordLevel": "Each word is one token if the vocabulary has it.",
            "WordPiece": "From the left, the longest known piece is taken each time.",
        }.get(kind, f"A tokenizer of the kind {kind}.")
    known = (
        "beside each is how often it did that in its text" if counts else "how often training counted each is not kept"
    )
    return f"In each word, the neighbours that training joined first are joined first, again and again; {known}."


class _Spelling:
    """What the replay needs of a tokenizer: the ranks of its merges, its vocabulary, and how symbols read."""

    def __init__(self, parsed: dict[str, Any]) -> None:
        """`parsed`: the tokenizer's JSON."""
        model = parsed["model"]
        self.ranks = _ranks(model) if model.get("type", "BPE") == "BPE" else {}
        self.whole_words = model.get("vocab", {}) if model.get("ignore_merges") else {}
        self.is_byte_level = '"ByteLevel"' in json.dumps(parsed.get("pre_tokenizer"))

    def shown(self, symbol: str) -> str:
        """A symbol as people read it: the text of the bytes that its characters stand for, or these in hexadecimal."""
        if not self.is_byte_level or not all(character in BYTE_OF_CHARACTER for character in symbol):
            return printable(symbol)
        content = bytes(BYTE_OF_CHARACTER[character] for character in symbol)
        try:
            return printable(content.decode())
        except UnicodeDecodeError:
            return f"<{content.hex(' ').upper()}>"


def _word(tokenizer: Tokenizer, spelling: _Spelling, word: str, counts: Sequence[int] | None) -> Word:
    tokens, shown, ranks = tuple(tokenizer.word_tokens(word)), spelling.shown, spelling.ranks
    pieces = tuple(printable(tokenizer.token_text(token)) for token in tokens)
    if not ranks:
        return Word(shown(word), (pieces,), (), tokens)
    symbols = list(word)
    states, merges = [tuple(map(shown, symbols))], []
    while len(symbols) > 1:
        pairs = list(pairwise(symbols))
        at = min(range(len(pairs)), key=lambda i: ranks.get(pairs[i], len(ranks)))
        rank = ranks.get(pairs[at])
        if rank is None:
            break
        left, right = pairs[at]
        merges.append(Merge(shown(left), shown(right), rank, None if counts is None else counts[rank]))
        symbols[at : at + 2] = [left + right]
        states.append(tuple(map(shown, symbols)))
    if word in spelling.whole_words and len(symbols) > 1:  # looked up whole, and merges do not lead there
        return Word(shown(word), (pieces,), (), tokens)
    return Word(shown(word), tuple(states), tuple(merges), tokens)


@lru_cache(maxsize=4)
def _parsed(content: str) -> dict[str, Any]:
    return dict(json.loads(content))


def _ranks(model: dict[str, Any]) -> dict[tuple[str, str], int]:
    """The rank of each pair that merges."""
    ranks: dict[tuple[str, str], int] = {}
    for rank, merge in enumerate(model.get("merges", ())):
        left, right = merge.split(" ") if isinstance(merge, str) else merge
        ranks[left, right] = rank
    return ranks
