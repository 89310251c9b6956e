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
from test_loss import translator

from openbook.errors import OpenbookError
from openbook.generation.engines.torch_engine import TorchEngine
from openbook.generation.settings import BeamSearch
from openbook.generation.token_translator import TokenTranslator
from openbook.text.tokenizer.special_tokens import SpecialTokens
from openbook.training.data.batching import LengthGroupedSampler
from openbook.training.data.tokenization import TokenizedPairs, TokenSequences
from openbook.training.data.translation_task import PairSequences, PairTemplate, score_pairs
from openbook.training.loss import IGNORE_INDEX, hidden_states

SPECIAL = SpecialTokens(end=(39,), separator=38, suffix=(39,), decoder_start=37)
CPU = torch.device("cpu")


def side(rows):
    starts = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    return TokenSequences(np.concatenate(rows).astype(np.uint16), starts)


def random_pairs(count, seed=0, longest=12):
    choose = np.random.default_rng(seed)
    sides = [[choose.integers(37, size=choose.integers(1, longest)) for _ in range(count)] for _ in range(2)]
    return TokenizedPairs(side(sides[0]), side(sides[1]), np.full(count, 10))


def sequences_of(tokens, has_encoder=True, context=64):
    return PairSequences(tokens, PairTemplate.of(SPECIAL, has_encoder), has_encoder, context)


@given(
    lengths=st.lists(st.tuples(st.integers(1, 60), st.integers(1, 60)), min_size=1, max_size=80),
    tokens=st.integers(60, 300),
    seed=st.integers(0, 99),
)
def test_an_epoch_has_every_pair_once_and_no_batch_is_too_large(lengths, tokens, seed):
    lengths = np.array(lengths)
    sampler = LengthGroupedSampler(lengths, tokens, seed)
    for epoch in range(2):
        batches = sampler.batches(epoch * sampler.batches_per_epoch, sampler.batches_per_epoch)
        assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
        for batch in batches:
            assert len(batch) == 1 or len(batch) * lengths[batch].max() <= tokens


def test_batches_hold_pairs_of_like_lengths():
    lengths = np.random.default_rng(0).geometric(0.05, (5000, 2)) + 1
    sampler = LengthGroupedSampler(lengths, 1024, 1)
    batches = sampler.batches(0, sampler.batches_per_epoch)
    used = sum(int(lengths[batch].sum()) for batch in batches)
    padded = sum(int(len(batch) * lengths[batch].max(axis=0).sum()) for batch in batches)
    assert padded < 1.3 * used
    assert len(batches) < 1.3 * lengths.max(axis=1).sum() / 1024


def test_any_batch_can_be_asked_for_at_any_time():
    lengths = np.random.default_rng(0).integers(1, 30, (300, 2))
    sampler = LengthGroupedSampler(lengths, 100, 1)
    in_order = sampler.batches(0, 3 * sampler.batches_per_epoch)
    for number in (2 * sampler.batches_per_epoch + 3, 0, sampler.batches_per_epoch, 7):
        for other in (sampler, LengthGroupedSampler(lengths, 100, 1)):
            assert np.array_equal(other.batches(number, 1)[0], in_order[number])
    each = sampler.batches_per_epoch
    first, second = in_order[:each], in_order[each : 2 * each]
    assert {tuple(sorted(batch)) for batch in first} != {tuple(sorted(batch)) for batch in second}
    assert not np.array_equal(LengthGroupedSampler(lengths, 100, 2).batches(0, 1)[0], in_order[0])


def test_rows_of_an_encoder_decoder():
    tokens = TokenizedPairs(side([[1, 2], [3]]), side([[4], [5, 6]]), np.array([1, 2]))
    batch = sequences_of(tokens).batch(np.array([0, 1]), CPU)
    assert batch.source.tolist() == [[1, 2, 39], [3, 39, 0]]
    assert batch.source_positions.tolist() == [[0, 1, 2], [0, 1, -1]]
    assert batch.target.tolist() == [[37, 4, 0], [37, 5, 6]]
    assert batch.labels.tolist() == [[4, 39, IGNORE_INDEX], [5, 6, 39]]
    assert sequences_of(tokens).batch(np.array([0]), CPU).source_positions is None
    assert sequences_of(tokens).lengths.tolist() == [[3, 2], [2, 3]]


def test_rows_of_a_decoder_only_model_learn_the_target_alone():
    tokens = TokenizedPairs(side([[1, 2], [3]]), side([[4], [5, 6]]), np.array([1, 2]))
    batch = sequences_of(tokens, has_encoder=False).batch(np.array([0, 1]), CPU)
    assert batch.source is None
    assert batch.target.tolist() == [[1, 2, 38, 4], [3, 38, 5, 6]]
    assert batch.labels.tolist() == [[IGNORE_INDEX, IGNORE_INDEX, 4, 39], [IGNORE_INDEX, 5, 6, 39]]
    assert sequences_of(tokens, has_encoder=False).lengths.tolist() == [[4], [4]]


def test_a_vocabulary_without_a_separator_is_told():
    with pytest.raises(OpenbookError, match="no token to stand between"):
        PairTemplate.of(SpecialTokens(end=(1,)), has_encoder=False)


def test_pairs_that_are_too_long_are_left_out():
    tokens = random_pairs(50)
    rows = sequences_of(tokens, context=6)
    kept = set(rows.fitting.tolist())
    assert 0 < len(kept) < 50
    for number in range(50):
        fits = len(tokens.source[number]) + 1 <= 6 and len(tokens.target[number]) + 1 <= 6
        assert (number in kept) == fits


@pytest.mark.parametrize("has_encoder", [True, False])
def test_the_score_is_that_of_each_pair_alone(has_encoder):
    """Neither padding nor who stands beside whom changes it."""
    tokens = random_pairs(30)
    rows, model = sequences_of(tokens, has_encoder), translator(encoder_layers=int(has_encoder))
    numbers = np.arange(3, 30)
    score = score_pairs(model, rows, numbers, 40, CPU)
    nats = 0.0
    for number in numbers:
        batch = rows.batch(np.array([number]), CPU)
        logits = model.logits(hidden_states(model, batch))[0].detach()
        nats += float(F.cross_entropy(logits, batch.labels[0], reduction="sum", ignore_index=IGNORE_INDEX))
    assert score.nats == pytest.approx(nats, rel=1e-5)
    assert score.tokens == sum(len(tokens.target[number]) + 1 for number in numbers)
    assert score.bytes == 270
    assert model.training


@pytest.mark.parametrize("has_encoder", [True, False])
def test_greedy_choices_are_those_of_the_whole_model_step_by_step(has_encoder):
    model = translator(encoder_layers=int(has_encoder)).eval()
    rows = sequences_of(random_pairs(80), has_encoder)
    sources = [rows.source(number).tolist() for number in range(80)]

    def written(end, least=0):
        special, how = replace(SPECIAL, end=(end,)), BeamSearch(beam_size=1, min_tokens=least, max_tokens=64)
        found = TokenTranslator(engine=TorchEngine(model), special=special, decoding=how)([sources])
        return [best.tokens for best, *_ in found]

    endless = Counter(chain.from_iterable(map(set, written(39, least=100))))
    end = next(token for token, count in endless.most_common() if count < 70)  # so that some end and others do not
    lengths = set()
    for source, found in zip(sources, written(end), strict=True):
        expected, most = [], 2 * len(source) + 20
        while len(expected) < most:
            read = torch.tensor([[*rows.template.decoder_start, *expected] if has_encoder else [*source, *expected]])
            with torch.no_grad():
                logits = model(read, source=torch.tensor([source]) if has_encoder else None)
            expected.append(int(logits[0, -1].argmax()))
            if expected[-1] == end:
                break
        assert list(found) == expected
        lengths.add(len(found) == most)
    assert lengths == {True, False}
