"""BPE-dropout: without dropout the tokenizer's own spelling; with it, as likely ones as another implementation's."""

from collections import Counter

import numpy as np
import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from openbook.errors import OpenbookError
from openbook.text.tokenizer.bpe_dropout import SEGMENTATIONS_PER_WORD, BpeDropout, MergeDropout, encode_word
from openbook.text.tokenizer.tokenizer import Tokenizer
from openbook.text.tokenizer.training import train_tokenizer

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
    for seed in range(-(-count // SEGMENTATIONS_PER_WORD)):
        found.update(tuple(segmentation) for segmentation in BpeDropout(TOKENIZER, 0.3, seed)._sample(" lowest"))
    expected.update(tuple(theirs.encode(" lowest").ids) for _ in range(count))
    assert len(expected) > 3
    for segmentation, times in expected.most_common(3):
        share, own = times / count, found[segmentation] / sum(found.values())
        assert abs(own - share) < 5 * (share * (1 - share) / count) ** 0.5 * 2**0.5


def test_pairs_are_joined_in_their_order():
    ranks = {("b", "c"): 0, ("a", "b"): 1, ("a", "bc"): 2}
    assert encode_word("abcab", ranks, 0.0, lambda: 0.0) == ["abc", "ab"]
    assert encode_word("abc", ranks, 0.5, lambda: 0.1) == ["a", "b", "c"]
    draws = iter([0.9, 0.1, 0.9, 0.9])
    assert encode_word("abc", ranks, 0.5, lambda: next(draws)) == ["ab", "c"]


@pytest.mark.parametrize("kind", ["unigram", "characters", "words", "bytes"])
def test_other_vocabularies_are_refused(kind):
    tokenizer = train_tokenizer([TEXT], kind, 330)
    assert isinstance(tokenizer, Tokenizer)
    with pytest.raises(OpenbookError, match=r"bpe_dropout: .*leave it out"):
        BpeDropout(tokenizer, 0.1, 1)


def rows_of(text, length):
    ids = np.array(TOKENIZER.encode(text))
    return ids[: len(ids) // length * length].reshape(-1, length)


def spelled(ids):
    return b"".join(TOKENIZER.token_bytes(int(each)) for each in ids)


@given(st.floats(0, 1), st.integers(1, 30), st.integers(0, 99))
def test_undone_joins_spell_the_same_text(share, length, seed):
    before = rows_of(TEXT[:600], length)
    after, origin = MergeDropout(TOKENIZER).apply(before, share, np.random.default_rng(seed))
    assert after.shape == origin.shape == before.shape
    for row, pieces, columns in zip(before, after, origin, strict=True):
        assert columns[0] == 0
        assert set(np.diff(columns)) <= {0, 1}
        last = columns[-1]
        for column in range(last):
            assert spelled(pieces[columns == column]) == spelled([row[column]])
        assert spelled([row[last]]).startswith(spelled(pieces[columns == last]))  # some may be pushed out


def test_as_many_joins_are_undone_as_was_asked_for():
    joins, rows = MergeDropout(TOKENIZER), rows_of(TEXT, 64)
    assert (joins.apply(rows, 0.0, np.random.default_rng(0))[0] == rows).all()
    every = joins.apply(rows, 1.0, np.random.default_rng(0))[0]
    assert all(len(TOKENIZER.token_bytes(int(each))) == 1 for each in every.flat)
    (pair,) = (each for each in TOKENIZER.encode("th") if len(TOKENIZER.token_bytes(each)) == 2)
    _, origin = joins.apply(np.full((100, 500), pair), 0.25, np.random.default_rng(0))
    tokens = origin[:, -1].sum() / origin.size  # each column holds 1 / 1.25 of a token
    assert tokens == pytest.approx(0.8, abs=0.01)


def test_joins_of_words_that_are_no_byte_pairs_are_refused():
    with pytest.raises(OpenbookError, match="not BPE"):
        MergeDropout(train_tokenizer([TEXT], "words", 50))
