"""Pairs: batches of like lengths that are a function of seed and step, rows of both kinds, and their loss."""

from collections import Counter
from dataclasses import replace
from itertools import chain

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from test_next_tokens import translator

from openbook.errors import OpenbookError
from openbook.generation.engines.torch_engine import TorchEngine
from openbook.generation.settings import BeamSearch
from openbook.generation.token_translator import TokenTranslator
from openbook.text.tokenizer.special_tokens import SpecialTokens
from openbook.training.chunked_loss import NOTHING, hidden_of
from openbook.training.data.pair_batches import Parts
from openbook.training.data.pair_task import PairRows, marks_of, score_pairs
from openbook.training.data.pair_tokens import TokenPairs, TokenSide

SPECIAL = SpecialTokens(end=(39,), separator=38, suffix=(39,), decoder_start=37)
CPU = torch.device("cpu")


def side(rows):
    starts = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    return TokenSide(np.concatenate(rows).astype(np.uint16), starts)


def random_pairs(count, seed=0, longest=12):
    choose = np.random.default_rng(seed)
    sides = [[choose.integers(37, size=choose.integers(1, longest)) for _ in range(count)] for _ in range(2)]
    return TokenPairs(side(sides[0]), side(sides[1]), np.full(count, 10))


def rows_of(tokens, apart=True, context=64):
    return PairRows(tokens, marks_of(SPECIAL, apart), apart, context)


@given(
    lengths=st.lists(st.tuples(st.integers(1, 60), st.integers(1, 60)), min_size=1, max_size=80),
    tokens=st.integers(60, 300),
    seed=st.integers(0, 99),
)
def test_an_epoch_has_every_pair_once_and_no_part_is_too_large(lengths, tokens, seed):
    lengths = np.array(lengths)
    parts = Parts(lengths, tokens, seed)
    for epoch in range(2):
        epoch_parts = parts.numbers(epoch * parts.per_epoch, parts.per_epoch)
        assert sorted(np.concatenate(epoch_parts).tolist()) == list(range(len(lengths)))
        for part in epoch_parts:
            assert len(part) == 1 or len(part) * lengths[part].max() <= tokens


def test_parts_hold_pairs_of_like_lengths():
    lengths = np.random.default_rng(0).geometric(0.05, (5000, 2)) + 1
    parts = Parts(lengths, 1024, 1).numbers(0, Parts(lengths, 1024, 1).per_epoch)
    used = sum(int(lengths[part].sum()) for part in parts)
    padded = sum(int(len(part) * lengths[part].max(axis=0).sum()) for part in parts)
    assert padded < 1.3 * used
    assert len(parts) < 1.3 * lengths.max(axis=1).sum() / 1024


def test_any_part_can_be_asked_for_at_any_time():
    lengths = np.random.default_rng(0).integers(1, 30, (300, 2))
    parts = Parts(lengths, 100, 1)
    in_order = parts.numbers(0, 3 * parts.per_epoch)
    for number in (2 * parts.per_epoch + 3, 0, parts.per_epoch, 7):
        for other in (parts, Parts(lengths, 100, 1)):
            assert np.array_equal(other.numbers(number, 1)[0], in_order[number])
    first, second = (in_order[epoch * parts.per_epoch : (epoch + 1) * parts.per_epoch] for epoch in (0, 1))
    assert {tuple(sorted(part)) for part in first} != {tuple(sorted(part)) for part in second}
    assert not np.array_equal(Parts(lengths, 100, 2).numbers(0, 1)[0], in_order[0])


def test_rows_of_an_encoder_decoder():
    tokens = TokenPairs(side([[1, 2], [3]]), side([[4], [5, 6]]), np.array([1, 2]))
    batch = rows_of(tokens).batch(np.array([0, 1]), CPU)
    assert batch.source.tolist() == [[1, 2, 39], [3, 39, 0]]
    assert batch.source_positions.tolist() == [[0, 1, 2], [0, 1, -1]]
    assert batch.target.tolist() == [[37, 4, 0], [37, 5, 6]]
    assert batch.next_ids.tolist() == [[4, 39, NOTHING], [5, 6, 39]]
    assert rows_of(tokens).batch(np.array([0]), CPU).source_positions is None
    assert rows_of(tokens).lengths.tolist() == [[3, 2], [2, 3]]


def test_rows_of_a_decoder_only_model_learn_the_target_alone():
    tokens = TokenPairs(side([[1, 2], [3]]), side([[4], [5, 6]]), np.array([1, 2]))
    batch = rows_of(tokens, apart=False).batch(np.array([0, 1]), CPU)
    assert batch.source is None
    assert batch.target.tolist() == [[1, 2, 38, 4], [3, 38, 5, 6]]
    assert batch.next_ids.tolist() == [[NOTHING, NOTHING, 4, 39], [NOTHING, 5, 6, 39]]
    assert rows_of(tokens, apart=False).lengths.tolist() == [[4], [4]]


def test_a_vocabulary_without_a_separator_is_told():
    with pytest.raises(OpenbookError, match="no token to stand between"):
        marks_of(SpecialTokens(end=(1,)), apart=False)


def test_pairs_that_are_too_long_are_left_out():
    tokens = random_pairs(50)
    rows = rows_of(tokens, context=6)
    kept = set(rows.fitting.tolist())
    assert 0 < len(kept) < 50
    for number in range(50):
        fits = len(tokens.source[number]) + 1 <= 6 and len(tokens.target[number]) + 1 <= 6
        assert (number in kept) == fits


@pytest.mark.parametrize("apart", [True, False])
def test_the_score_is_that_of_each_pair_alone(apart):
    """Neither padding nor who stands beside whom changes it."""
    tokens = random_pairs(30)
    rows, model = rows_of(tokens, apart), translator(encoder_layers=int(apart))
    numbers = np.arange(3, 30)
    score = score_pairs(model, rows, numbers, 40, CPU)
    nats = 0.0
    for number in numbers:
        batch = rows.batch(np.array([number]), CPU)
        logits = model.logits(hidden_of(model, batch))[0].detach()
        nats += float(F.cross_entropy(logits, batch.next_ids[0], reduction="sum", ignore_index=NOTHING))
    assert score.nats == pytest.approx(nats, rel=1e-5)
    assert score.tokens == sum(len(tokens.target[number]) + 1 for number in numbers)
    assert score.bytes == 270
    assert model.training


@pytest.mark.parametrize("apart", [True, False])
def test_greedy_choices_are_those_of_the_whole_model_step_by_step(apart):
    model = translator(encoder_layers=int(apart)).eval()
    rows = rows_of(random_pairs(80), apart)
    sources = [rows.source(number).tolist() for number in range(80)]

    def written(end, least=0):
        special, how = replace(SPECIAL, end=(end,)), BeamSearch(beam_size=1, min_tokens=least, max_tokens=64)
        found = TokenTranslator(engine=TorchEngine(model), special=special, how=how)([sources])
        return [best.tokens for best, *_ in found]

    endless = Counter(chain.from_iterable(map(set, written(39, least=100))))
    end = next(token for token, count in endless.most_common() if count < 70)  # so that some end and others do not
    lengths = set()
    for source, found in zip(sources, written(end), strict=True):
        expected, most = [], 2 * len(source) + 20
        while len(expected) < most:
            read = torch.tensor([[*rows.marks.start, *expected] if apart else [*source, *expected]])
            with torch.no_grad():
                logits = model(read, source=torch.tensor([source]) if apart else None)
            expected.append(int(logits[0, -1].argmax()))
            if expected[-1] == end:
                break
        assert list(found) == expected
        lengths.add(len(found) == most)
    assert lengths == {True, False}
