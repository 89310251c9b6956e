"""BPE-dropout: without dropout the tokenizer's own spelling; with it, as likely ones as another implementation's."""

from collections import Counter

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from openbook.errors import OpenbookError
from openbook.text.bpe_dropout import SPELLINGS, BpeDropout, spell
from openbook.text.tokenizer import Tokenizer
from openbook.text.tokenizer_training import train_tokenizer

TEXT = "the lower, the newer and the widest; lowest widths of new towers! Größe 12345 größer " * 40
TOKENIZER = train_tokenizer([TEXT], "bpe", 330)


@given(st.text(alphabet="thelowrnidsGöß 12!\u00a0\n", max_size=40))
def test_without_dropout_it_is_the_tokenizer(text):
    assert BpeDropout(TOKENIZER, 0.0, 1).encode(text, 7) == TOKENIZER.encode(text)


@given(st.text(max_size=40), st.floats(0, 0.99), st.integers(0, 9))
def test_whatever_the_spelling_the_text_is_the_same(text, dropout, key):
    try:
        text.encode()
    except UnicodeEncodeError:
        return
    assert TOKENIZER.decode(BpeDropout(TOKENIZER, dropout, 1).encode(text, key)) == text


def test_it_follows_from_the_seed_and_the_key():
    text = "the lowest towers and the widest widths"
    one, same, other = (BpeDropout(TOKENIZER, 0.3, seed) for seed in (1, 1, 2))
    same.encode("widest newer", 3)  # whatever was spelled before
    spelled = [one.encode(text, key) for key in range(20)]
    assert spelled == [same.encode(text, key) for key in range(20)]
    assert spelled != [other.encode(text, key) for key in range(20)]
    assert len({tuple(ids) for ids in spelled}) > 15
    assert min(map(len, spelled)) >= len(TOKENIZER.encode(text))


def test_spellings_are_as_likely_as_those_of_the_library():
    """A thousand spellings of a word by each; the difference of the shares stays within what chance allows."""
    theirs = tokenizers.Tokenizer.from_str(TOKENIZER.to_json())
    theirs.model.dropout = 0.3  # which keeps it from remembering words
    found, expected, count = Counter(), Counter(), 3000
    for seed in range(-(-count // SPELLINGS)):
        found.update(tuple(spelling) for spelling in BpeDropout(TOKENIZER, 0.3, seed)._spell(" lowest"))
    expected.update(tuple(theirs.encode(" lowest").ids) for _ in range(count))
    assert len(expected) > 3
    for spelling, times in expected.most_common(3):
        share, own = times / count, found[spelling] / sum(found.values())
        assert abs(own - share) < 5 * (share * (1 - share) / count) ** 0.5 * 2**0.5


def test_pairs_are_joined_in_their_order():
    ranks = {("b", "c"): 0, ("a", "b"): 1, ("a", "bc"): 2}
    assert spell("abcab", ranks, 0.0, lambda: 0.0) == ["abc", "ab"]
    assert spell("abc", ranks, 0.5, lambda: 0.1) == ["a", "b", "c"]
    draws = iter([0.9, 0.1, 0.9, 0.9])
    assert spell("abc", ranks, 0.5, lambda: next(draws)) == ["ab", "c"]


@pytest.mark.parametrize("kind", ["unigram", "characters", "words", "bytes"])
def test_other_vocabularies_are_refused(kind):
    tokenizer = train_tokenizer([TEXT], kind, 330)
    assert isinstance(tokenizer, Tokenizer)
    with pytest.raises(OpenbookError, match=r"--bpe-dropout: .*leave it out"):
        BpeDropout(tokenizer, 0.1, 1)
