"""Pairs as tokens: they give back the text, and an interruption changes nothing."""

import numpy as np
import pytest

from openbook.text.tokenizer.training import train_tokenizer
from openbook.training.data import token_files, tokenization
from openbook.training.data.pair_corpus import prepare_pairs
from openbook.training.data.tokenization import WordEncoder, tokenize_pairs


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    lines = [f"the {n} little birds sing, {n * 7}!\tdie {n} kleinen Vögel singen, {n * 7}!\n" for n in range(120)]
    (folder / "a.tsv").write_text("".join(lines), "utf-8")
    return prepare_pairs([folder / "a.tsv"], folder / "text")


def learned(corpus, kind="bpe", **sides):
    sides = sides or {"source": True, "target": True}
    return train_tokenizer(corpus.train.sample(1 << 20, **sides), kind, 300, sentences=True)


@pytest.mark.parametrize("kind", ["bpe", "unigram", "bytes", "characters"])
def test_tokens_give_back_the_text(corpus, tmp_path, kind):
    tokenizer = learned(corpus, kind)
    train, validation = tokenize_pairs(corpus, tokenizer, tokenizer, tmp_path)
    for tokens, split in ((train, corpus.train), (validation, corpus.validation)):
        assert len(tokens) == len(split)
        for number, pair in enumerate(split.pairs()):
            assert tokenizer.decode(tokens.source[number]) == pair.source
            assert tokenizer.decode(tokens.target[number]) == pair.target
            assert tokens.target_bytes[number] == len(pair.target.encode())
    assert train.source.lengths.sum() == len(train.source.ids)
    assert isinstance(train.target.ids, np.memmap) and train.target.ids.dtype == np.uint16


def test_each_side_can_have_a_vocabulary_of_its_own(corpus, tmp_path):
    source, target = learned(corpus, source=True, target=False), learned(corpus, source=False, target=True)
    train, _ = tokenize_pairs(corpus, source, target, tmp_path)
    pair = next(corpus.train.pairs())
    assert source.decode(train.source[0]) == pair.source and target.decode(train.target[0]) == pair.target
    assert " little" in {source.token_text(token) for token in train.source[0]}
    assert " little" not in {target.token_text(token) for token in range(target.vocab_size)}


def test_sentences_do_not_run_into_each_other(corpus):
    """No token stands for the end of one sentence and the line end after it."""
    tokenizer = learned(corpus)
    assert [token for token in range(tokenizer.vocab_size) if "\n" in tokenizer.token_text(token)[1:]] == []


def test_a_sample_is_spread_over_all_pairs(corpus):
    whole = list(corpus.train.sample(1 << 20, source=True, target=False))
    some = list(corpus.train.sample(2000, source=True, target=False))
    assert len(whole) == len(corpus.train) and 10 < len(some) < 40
    assert some[1] != whole[1] and some[-1] in whole[-5:]


def same(one, other):
    return all(
        np.array_equal(a, b)
        for side in ("source", "target")
        for a, b in zip(vars(getattr(one, side)).values(), vars(getattr(other, side)).values(), strict=True)
    )


@pytest.mark.parametrize(
    ("place", "call"),
    [*(("_append", call) for call in (1, 2, 3, 4, 10, 18)), *(("write_json", call) for call in (1, 4, 5))],
)
def test_interrupted_anywhere_it_goes_on_to_the_same(corpus, tmp_path, monkeypatch, place, call):
    """Five parts, each with two texts encoded, six arrays appended and a saved state."""
    tokenizer, calls, encoded = learned(corpus), [], []
    monkeypatch.setattr(tokenization, "PART_PAIRS", 30)
    whole, _ = tokenize_pairs(corpus, tokenizer, tokenizer, tmp_path / "whole")
    owner = token_files.TokenFiles if place == "_append" else token_files
    real, encode = getattr(owner, place), WordEncoder.encode_batch

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == call:
            raise KeyboardInterrupt
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(owner, place, interrupted)
        with pytest.raises(KeyboardInterrupt):
            tokenize_pairs(corpus, tokenizer, tokenizer, tmp_path / "parts")
    monkeypatch.setattr(WordEncoder, "encode_batch", lambda *each: encoded.append(each) or encode(*each))
    assert same(tokenize_pairs(corpus, tokenizer, tokenizer, tmp_path / "parts")[0], whole)
    parts_done = (call - 1) // 6 if place == "_append" else call - 1
    assert len(encoded) == 10 - 2 * parts_done
    assert same(tokenize_pairs(corpus, tokenizer, tokenizer, tmp_path / "parts")[0], whole)
    assert len(encoded) == 10 - 2 * parts_done  # found, not made again


def test_other_tokens_are_not_taken_for_these(corpus, tmp_path):
    tokenizer, other = learned(corpus), learned(corpus, "bytes")
    tokenize_pairs(corpus, tokenizer, tokenizer, tmp_path)
    train, _ = tokenize_pairs(corpus, other, other, tmp_path)
    assert other.decode(train.source[0]) == next(corpus.train.pairs()).source
