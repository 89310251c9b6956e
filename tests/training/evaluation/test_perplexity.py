"""Every token is scored once, from as much context as the stride promises, and the score is that of a plain loop."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from openbook.text.tokenizer.training import train_tokenizer
from openbook.text.tokenizer.unknown import NOTHING_UNKNOWN, Unknown
from openbook.training.evaluation.perplexity import Score, TokenBytes, bits_per_byte, score_text, sliding_windows
from openbook.training.evaluation.text_files import score_files
from openbook.training.loss import IGNORE_INDEX
from strategies import CONTEXT, DEFAULT, VOCABULARY, build

COUNTS, CONTEXTS = st.integers(2, 400), st.integers(1, 50)


def reached(count, context, stride):
    """For each token how often it is scored, and how many tokens it looks back on."""
    times, seen = np.zeros(count, int), np.zeros(count, int)
    for start, first in sliding_windows(count, context, stride):
        last = start + context
        assert 0 <= start < first <= last < count
        times[first : last + 1] += 1
        seen[first : last + 1] = np.arange(first, last + 1) - start
    return times, seen


@given(COUNTS, CONTEXTS, CONTEXTS)
def test_each_token_but_the_first_is_scored_once(count, context, stride):
    times, _ = reached(count, min(context, count - 1), stride)
    assert times[0] == 0 and (times[1:] == 1).all()


@given(COUNTS, CONTEXTS, CONTEXTS, CONTEXTS)
def test_a_smaller_stride_never_gives_less_to_look_back_on(count, context, one, other):
    context = min(context, count - 1)
    small, large = (reached(count, context, stride)[1] for stride in sorted((one, other)))
    assert small.min(initial=0, where=np.arange(count) > 0) >= large.min(initial=0, where=np.arange(count) > 0)
    least = np.minimum(np.arange(1, count), max(1, context - min(one, other) + 1))
    assert (small[1:] >= least).all()


@given(COUNTS, CONTEXTS)
def test_a_stride_of_one_uses_all_context(count, context):
    context = min(context, count - 1)
    _, seen = reached(count, context, 1)
    assert (seen[1:] == np.minimum(np.arange(1, count), context)).all()


def score(model, tokens, text_bytes, context, stride=None, **options):
    """All of a text, in windows that are `stride` apart, or do not overlap."""
    length = min(context, len(tokens) - 1)
    windows = sliding_windows(len(tokens), length, stride or length)
    return score_text(model, tokens, text_bytes, windows, context=context, **options)


def naive(model, tokens, context, stride):
    """One window and one token at a time."""
    length, nats, counted = min(context, len(tokens) - 1), 0.0, 0
    for start, first in sliding_windows(len(tokens), length, stride):
        for place in range(first, start + length + 1):
            ids = torch.from_numpy(tokens[start:place].astype(np.int64))[None]
            nats -= float(model(ids)[0, -1].double().log_softmax(-1)[tokens[place]])
            counted += 1
    return nats, counted


@torch.no_grad()
@pytest.mark.parametrize(("count", "context", "stride"), [(40, 8, 8), (40, 8, 3), (41, 24, 12), (7, 24, 24), (2, 9, 1)])
@pytest.mark.parametrize("rows", [1, 3, 16])
def test_the_score_is_that_of_a_plain_loop(count, context, stride, rows):
    model = build(DEFAULT)
    tokens = np.random.default_rng(0).integers(VOCABULARY, size=count).astype(np.uint16)
    told = []
    found = score(model, tokens, 77, context=context, stride=stride, rows=rows, advance=told.append)
    nats, counted = naive(model, tokens, context, stride)
    assert found.nats == pytest.approx(nats, rel=1e-5)
    assert found.tokens == counted == count - 1 == sum(told)
    assert found.bits_per_byte == pytest.approx(nats / math.log(2) / 77, rel=1e-5)
    assert found.perplexity == pytest.approx(math.exp(nats / counted), rel=1e-5)


def test_only_the_windows_that_are_given_are_scored():
    model = build(DEFAULT)
    tokens = np.random.default_rng(0).integers(VOCABULARY, size=100).astype(np.uint16)
    found = score_text(model, tokens, 1, [(30, 31)], context=CONTEXT)
    alone = score(model, tokens[30 : 31 + CONTEXT], 1, context=CONTEXT)
    assert found.tokens == CONTEXT
    assert found.nats == pytest.approx(alone.nats)


def test_scoring_leaves_the_mode_and_drops_nothing():
    model = build(DEFAULT)
    tokens = np.arange(60, dtype=np.uint16) % VOCABULARY
    expected = score(model, tokens, 1, context=8)
    model.decoder.dropout.threshold = 128
    model.train()
    assert score(model, tokens, 1, context=8) == expected
    assert model.training


def test_no_tokens_are_no_surprise():
    assert score(build(DEFAULT), np.zeros(1, np.uint16), 0, context=8) == Score(0.0, 0, 0)
    assert Score(0.0, 0, 0).bits_per_byte == 0.0 and Score(1e9, 1, 1).perplexity < math.inf


def test_what_is_unknown_costs_at_least_its_bytes():
    """A model that predicts the unknown token everywhere, for sure, does not beat eight bits a byte."""
    ignorant = Score.priced(0.0, 10, 100, Unknown(10, 100))
    assert ignorant.bits_per_byte == pytest.approx(8.0)
    assert ignorant.perplexity == pytest.approx(256.0**10)
    assert "10 of the tokens are unknown, 100 of the bytes; each of these bytes costs 8 bits" in ignorant.unknown_said
    assert Score.priced(5.0, 10, 100, NOTHING_UNKNOWN) == Score(5.0, 10, 100)
    assert Score(5.0, 10, 100).unknown_said == ""


def test_bytes_of_tokens():
    table = TokenBytes(np.array([0, 3, 2]), 0, Unknown(4, 10))
    assert table.of(np.array([0, 1, 2, 2])) == 2.5 + 3 + 2 + 2
    assert table.unknown(np.array([0, 0, 1])) == (2, 5)
    labels = torch.tensor([[1, 2, IGNORE_INDEX], [0, 0, IGNORE_INDEX]])
    expected = (7.0 + 5 * math.log(256)) / math.log(2) / 10
    text_bytes, unknown_bytes = table.of_labels([labels[:1], labels[1:]])
    assert (text_bytes, unknown_bytes) == (10, 5)
    assert bits_per_byte(7.0, text_bytes, unknown_bytes) == pytest.approx(expected)
    assert table.of_labels([]) == (0, 0)


@pytest.mark.parametrize("kind", ["characters", "words"])
def test_a_foreign_text_scores_above_eight_bits_a_byte_where_it_is_unknown(tmp_path, kind):
    tokenizer = train_tokenizer(["The keeper counted the boats.\n" * 9], kind, 60)
    model = build(replace(DEFAULT, vocab_size=tokenizer.vocab_size))
    text = "Смотрительсчиталлодки\n" * 5  # the line end is known
    (tmp_path / "ru.txt").write_text(text, "utf-8")
    found = score_files(model, tokenizer, [tmp_path / "ru.txt"])
    unknown = len(text.replace("\n", "").encode())
    assert found.unknown_bytes == unknown and found.bytes == len(text.encode())
    assert found.bits_per_byte > 8 * unknown / found.bytes
    assert ("С" if kind == "characters" else "Смотритель") in found.unknown_names
