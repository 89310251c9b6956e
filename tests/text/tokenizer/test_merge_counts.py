"""How often each merge happened: as often as joining every word again, pair by pair, joins it."""

import json
from collections import Counter
from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from openbook.text.tokenizer.merge_counts import count_tokens, merge_counts
from openbook.text.tokenizer.training import train_tokenizer


def joined(tokenizer, text):
    """How often each merge happens when each word is joined from its bytes."""
    merges = [tuple(each) for each in json.loads(tokenizer.to_json())["model"]["merges"]]
    ranks = {pair: rank for rank, pair in enumerate(merges)}
    counts = Counter()
    for word in tokenizer.split(text):
        pieces = list(word)
        while found := [(ranks[pair], at) for at, pair in enumerate(pairwise(pieces)) if pair in ranks]:
            rank, at = min(found)
            pieces[at : at + 2] = ["".join(pieces[at : at + 2])]
            counts[rank] += 1
    return [counts[rank] for rank in range(len(merges))]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from(["the ", "then ", "other ", "thin ", "a ", "theatre\n"]), min_size=4, max_size=60))
def test_counts_are_those_of_joining_again(words):
    text = "".join(words)
    tokenizer = train_tokenizer([text], "bpe", 290)
    counts = merge_counts(tokenizer, count_tokens(np.array(tokenizer.encode(text)), tokenizer.vocab_size))
    assert counts == joined(tokenizer, text)


def test_other_vocabularies_have_no_merges():
    tokenizer = train_tokenizer(["the cat sat"], "words", 20)
    assert merge_counts(tokenizer, np.ones(tokenizer.vocab_size, dtype=np.int64)) is None


def test_tokens_are_counted_in_parts(monkeypatch):
    monkeypatch.setattr("openbook.text.tokenizer.merge_counts.CHUNK", 3)
    ids = np.array([5, 1, 1, 0, 5, 5, 2], dtype=np.uint16)
    assert count_tokens(ids, 7).tolist() == [1, 2, 1, 0, 0, 3, 0]
