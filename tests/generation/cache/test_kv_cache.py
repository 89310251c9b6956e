"""The cache against a plain list of columns, and cached passes against uncached ones."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from naive import default_model

from openbook.generation.cache.kv_cache import KVCache
from openbook.transformer.mask import TokenPositions
from strategies import VOCABULARY, architectures, build, difference, some_tokens

operations = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 5)),
        st.tuples(st.just("reorder"), st.lists(st.integers(0, 3), min_size=1, max_size=4)),
        st.tuples(st.just("reorder"), st.sampled_from([[0, 3, 2], [3, 1, 2], [0, 1, 2], [0, 1, 2, 1]])),  # few move
        st.tuples(st.just("truncate"), st.integers(1, 20)),
    ),
    max_size=12,
)


@given(operations)
def test_cache_is_a_list_of_columns(steps) -> None:
    """Each row of the model is a list of (key, value, position), one for each token."""
    cache, rows, count = KVCache(1, capacity=2), [[], [], [], []], 0
    for name, argument in [("append", 3), *steps]:
        if name == "append":
            numbers = torch.arange(count, count + len(rows) * argument, dtype=torch.float32)
            count += numbers.numel()
            key = numbers.view(len(rows), 1, argument, 1)
            places = cache.append(TokenPositions(key[:, 0, :, 0].long()))
            keys, values = cache.layers[0].append(key, -key)
            rows = [row + key[i].flatten().tolist() for i, row in enumerate(rows)]
            assert places.position.tolist() == rows
            assert keys[:, 0, :, 0].tolist() == rows
            assert (-values[:, 0, :, 0]).tolist() == rows
            assert cache.next_position[:, 0].tolist() == [row[-1] + 1 for row in rows]
        elif name == "reorder":
            order = [i % len(rows) for i in argument]
            cache.reorder(order)
            rows = [rows[i] for i in order]
        else:
            cache.truncate(argument)
            rows = [row[:argument] for row in rows]
        assert cache.length == len(rows[0])


@given(architectures(), st.lists(st.integers(1, 6), min_size=1, max_size=4), st.integers(1, 3))
def test_cached_is_uncached(spec, lengths, rows) -> None:
    """A text given in parts of any lengths has the logits of the text given at once."""
    model, tokens = build(spec, dtype=torch.float64), some_tokens(rows, sum(lengths))
    cache = KVCache(len(spec.decoder.blocks), capacity=2)
    with torch.no_grad():
        parts = [model(part, cache=cache) for part in tokens.split(lengths, dim=1)]
        whole = model(tokens)
    assert difference(torch.cat(parts, dim=1), whole) < 1e-9


def test_a_forgotten_token_leaves_no_trace() -> None:
    model, tokens = default_model(), some_tokens(2, 9)
    cache = KVCache(2)
    with torch.no_grad():
        model(tokens[:, :6], cache=cache)
        model((tokens[:, 6:] + 1) % VOCABULARY, cache=cache)
        cache.truncate(6)
        again = model(tokens[:, 6:], cache=cache)
        assert difference(again, model(tokens)[:, 6:]) < 1e-5


def test_columns_that_somebody_else_fills_lie_where_they_did_until_they_grow_or_rows_move() -> None:
    cache = KVCache(1)
    cache.append(TokenPositions(torch.tensor([[0, 1]])))
    cache.layers[0].append(torch.ones(2, 1, 2, 3), torch.ones(2, 1, 2, 3))
    first = cache.reserve(2, 1)
    key, _ = cache.layers[0].reserve(0)
    assert cache.length == 3 and first.position.tolist() == [[0, 1, *[-1] * (key.shape[2] - 2)]] * 2
    while cache.length < key.shape[2]:
        assert cache.reserve(2, 1).position is first.position
        assert cache.layers[0].reserve(0)[0] is key
    grown = cache.reserve(2, 1)
    assert grown.position.shape[1] == cache.layers[0].reserve(0)[0].shape[2] > key.shape[2]
    cache.reorder([1, 0])
    assert cache.reserve(2, 0).position is not grown.position
