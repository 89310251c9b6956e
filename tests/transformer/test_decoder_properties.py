"""What holds for every architecture: causality, windows, documents, caches, padding, batches, watching."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from openbook.generation.cache.kv_cache import KVCache
from openbook.trace import trace
from openbook.transformer.mask import positions_of
from strategies import DEFAULT, architectures, build, difference, models, other_token, some_tokens, with_windows

LENGTH = 10
SAME = 1e-6
CLOSE = 5e-6

lengths = st.lists(st.integers(1, LENGTH), min_size=1, max_size=4)
splits = st.sets(st.integers(1, LENGTH - 1)).map(lambda cuts: [0, *sorted(cuts), LENGTH])


def changed_at(tokens, place):
    """The same tokens but for one column."""
    tokens = tokens.clone()
    tokens[:, place] = other_token(tokens[:, place])
    return tokens


def in_chunks(model, tokens, borders, positions=None):
    """The logits of all tokens, given to the model chunk by chunk with a cache."""
    cache = KVCache(len(model.decoder.blocks), capacity=2)
    parts = []
    for start, end in pairwise(borders):
        here = None if positions is None else positions[:, start:end]
        parts.append(model(tokens[:, start:end], here, cache=cache))
    return torch.cat(parts, dim=1)


def pad(tokens, lengths, side):
    """Rows cut to these lengths, the rest of each row padding → tokens, real (B, T)."""
    column = torch.arange(tokens.shape[1])
    length = torch.tensor(lengths)[:, None]
    real = column < length if side == "right" else column >= tokens.shape[1] - length
    return tokens.where(real, 0), real


@torch.no_grad()
@given(model=models(), place=st.integers(1, LENGTH - 1))
def test_a_later_token_never_changes_an_earlier_logit(model, place):
    tokens = some_tokens(2, LENGTH)
    before, after = model(tokens), model(changed_at(tokens, place))
    assert difference(after[:, :place], before[:, :place]) <= SAME
    assert not torch.equal(after[:, place], before[:, place])


@torch.no_grad()
@given(spec=architectures(), window=st.integers(1, 4), place=st.integers(0, 4))
def test_layers_see_no_further_than_their_windows_together(spec, window, place):
    model, tokens = build(with_windows(spec, window)), some_tokens(2, 16)
    reach = (window - 1) * len(spec.decoder.blocks)
    before, after = model(tokens), model(changed_at(tokens, place))
    # Experts multiply whichever tokens they get at once, which may move the last bit of any.
    assert difference(after[:, place + reach + 1 :], before[:, place + reach + 1 :]) <= SAME


@torch.no_grad()
@given(spec=architectures(max_layers=1), window=st.integers(1, 5))
def test_one_layer_sees_its_window_to_the_last_token(spec, window):
    model = build(with_windows(spec, window), dtype=torch.float64)
    tokens = some_tokens(8, 8)
    seen = ((model(changed_at(tokens, 1)) - model(tokens)).abs() > 1e-12).any(dim=-1).any(dim=0)
    assert seen[1 : 1 + window].all()
    assert not seen[1 + window :].any()


@torch.no_grad()
@given(model=models(), borders=splits)
def test_documents_do_not_know_of_each_other(model, borders):
    """Each document's logits are those that it has alone at the same positions."""
    tokens = some_tokens(2, LENGTH)
    documents = torch.zeros(1, LENGTH, dtype=torch.long)
    for number, (start, end) in enumerate(pairwise(borders)):
        documents[:, start:end] = number
    positions = torch.arange(LENGTH)[None]
    packed = model(tokens, documents=documents)
    assert difference(model(tokens, positions, documents), packed) <= CLOSE
    for start, end in pairwise(borders):
        alone = model(tokens[:, start:end], positions[:, start:end])
        assert difference(packed[:, start:end], alone) <= CLOSE


@torch.no_grad()
@given(model=models(), borders=splits)
def test_documents_may_each_count_from_zero(model, borders):
    tokens = some_tokens(2, LENGTH)
    spans = list(pairwise(borders))
    positions = torch.cat([torch.arange(end - start) for start, end in spans])[None]
    documents = torch.cat([torch.full((end - start,), number) for number, (start, end) in enumerate(spans)])[None]
    packed = model(tokens, positions, documents)
    for start, end in spans:
        assert difference(packed[:, start:end], model(tokens[:, start:end])) <= CLOSE


@torch.no_grad()
@given(model=models(), borders=splits)
def test_cached_is_uncached(model, borders):
    tokens = some_tokens(2, LENGTH)
    assert difference(in_chunks(model, tokens, borders), model(tokens)) <= CLOSE


@torch.no_grad()
@given(model=models(), borders=splits, lengths=lengths, side=st.sampled_from(["left", "right"]))
def test_cached_is_uncached_in_padded_batches(model, borders, lengths, side):
    tokens, real = pad(some_tokens(len(lengths), LENGTH), lengths, side)
    positions = positions_of(real)
    cached, uncached = in_chunks(model, tokens, borders, positions), model(tokens, positions)
    assert difference(cached[real], uncached[real]) <= CLOSE


@torch.no_grad()
@given(model=models(), kept=st.integers(1, LENGTH - 1))
def test_a_truncated_cache_goes_on_from_there(model, kept):
    tokens = some_tokens(2, LENGTH)
    cache = KVCache(len(model.decoder.blocks), capacity=2)
    model(changed_at(tokens, kept), cache=cache)
    cache.truncate(kept)
    assert difference(model(tokens[:, kept:], cache=cache), model(tokens)[:, kept:]) <= CLOSE


@torch.no_grad()
@given(model=models(), rows=st.lists(st.integers(0, 2), min_size=1, max_size=5))
def test_a_reordered_cache_goes_on_with_other_rows(model, rows):
    tokens = some_tokens(3, LENGTH)
    cache = KVCache(len(model.decoder.blocks), capacity=2)
    model(tokens[:, :-1], cache=cache)
    cache.reorder(rows)
    assert difference(model(tokens[rows, -1:], cache=cache), model(tokens)[rows, -1:]) <= CLOSE


@torch.no_grad()
@given(model=models(), lengths=lengths, side=st.sampled_from(["left", "right"]))
def test_padded_is_unpadded(model, lengths, side):
    tokens, real = pad(some_tokens(len(lengths), LENGTH), lengths, side)
    logits = model(tokens, positions_of(real))
    assert logits.isfinite().all()  # at padding too, or a loss would turn to NaN
    for row, its_real, its_logits in zip(tokens, real, logits, strict=True):
        assert difference(its_logits[its_real], model(row[its_real][None])[0]) <= CLOSE


@torch.no_grad()
@given(model=models(), rows=st.integers(2, 5))
def test_a_batch_is_its_rows(model, rows):
    tokens = some_tokens(rows, LENGTH)
    alone = torch.cat([model(row[None]) for row in tokens])
    assert difference(model(tokens), alone) <= CLOSE


@torch.no_grad()
@given(model=models(), lengths=lengths, side=st.sampled_from(["none", "left", "right"]))
def test_the_readable_path_is_the_fused_path(model, lengths, side):
    tokens, positions, real = some_tokens(len(lengths), LENGTH), None, slice(None)
    if side != "none":
        tokens, real = pad(tokens, lengths, side)
        positions = positions_of(real)
    with trace(model) as recorded:
        readable = model(tokens, positions)
    assert difference(readable[real], model(tokens, positions)[real]) <= CLOSE
    assert all(record.value.isfinite().all() for path, record in recorded.items() if "masked_scores" not in path)


@torch.no_grad()
@given(model=models(), borders=splits)
def test_the_readable_path_is_the_fused_path_with_a_cache(model, borders):
    tokens = some_tokens(2, LENGTH)
    cache = KVCache(len(model.decoder.blocks), capacity=2)
    model(tokens[:, : borders[1]], cache=cache)
    if borders[1] == LENGTH:
        return
    with trace(model):
        readable = model(tokens[:, borders[1] :], cache=cache)
    assert difference(readable, model(tokens)[:, borders[1] :]) <= CLOSE


@torch.no_grad()
@given(model=models())
def test_the_last_logits_alone_are_the_last_of_all(model):
    tokens = some_tokens(2, LENGTH)
    assert difference(model(tokens, last_only=True), model(tokens)[:, -1:]) <= SAME


@torch.no_grad()
def test_a_padded_cache_asks_for_positions():
    model, cache = build(DEFAULT), KVCache(2)
    tokens, real = pad(some_tokens(2, 4), [2, 4], "left")
    model(tokens, positions_of(real), cache=cache)
    with pytest.raises(ValueError, match="give the positions"):
        model(some_tokens(2, 1), cache=cache)


@torch.no_grad()
def test_no_tokens_are_no_logits():
    assert build(DEFAULT)(some_tokens(2, 0)).shape == (2, 0, 23)
