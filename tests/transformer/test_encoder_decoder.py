"""What holds for every encoder-decoder: who sees what, caches, padding, batches, watching."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from openbook.generation.cache.kv_cache import KVCache
from openbook.trace import trace
from openbook.transformer.mask import positions_of
from openbook.transformer.transformer import Transformer
from strategies import (
    DEFAULT,
    ENCODER_DECODERS,
    ORIGINAL,
    build,
    difference,
    original,
    some_source,
    some_tokens,
    translators,
)

SOURCE, TARGET = 8, 9
SAME = 1e-6
CLOSE = 5e-6

sides = st.sampled_from(["left", "right"])
lengths = st.lists(st.tuples(st.integers(1, SOURCE), st.integers(1, TARGET)), min_size=1, max_size=4)
splits = st.sets(st.integers(1, TARGET - 1)).map(lambda cuts: [0, *sorted(cuts), TARGET])


def changed_at(tokens, place, vocab_size=19):
    """The same tokens but for one column."""
    tokens = tokens.clone()
    tokens[:, place] = (tokens[:, place] + 1) % vocab_size
    return tokens


def pad(tokens, lengths, side):
    """Rows cut to these lengths, the rest of each row padding → tokens, real (B, T)."""
    column, length = torch.arange(tokens.shape[1]), torch.tensor(lengths)[:, None]
    real = column < length if side == "right" else column >= tokens.shape[1] - length
    return tokens.where(real, 0), real


def in_chunks(model, source, target, borders, source_positions=None, positions=None):
    """The logits of all target tokens, given to the model chunk by chunk with a cache; the source only at first."""
    cache, parts = KVCache(len(model.decoder.blocks), capacity=2), []
    for start, end in pairwise(borders):
        here = None if positions is None else positions[:, start:end]
        given = source if start == 0 else None
        parts.append(model(target[:, start:end], here, None, cache, given, source_positions))
    return torch.cat(parts, dim=1)


@torch.no_grad()
@given(model=translators(), place=st.integers(1, TARGET - 1))
def test_a_later_target_token_never_changes_an_earlier_logit(model, place):
    source, target = some_source(2, SOURCE), some_tokens(2, TARGET)
    before, after = model(target, source=source), model(changed_at(target, place), source=source)
    assert difference(after[:, :place], before[:, :place]) <= SAME
    assert not torch.equal(after[:, place], before[:, place])


@torch.no_grad()
@pytest.mark.parametrize("name", ENCODER_DECODERS)
@pytest.mark.parametrize("place", [0, SOURCE - 1])
def test_every_source_token_changes_every_logit_and_every_source_vector(name, place):
    model = build(ENCODER_DECODERS[name])
    source, target = some_source(2, SOURCE), some_tokens(2, TARGET)
    other = changed_at(source, place)
    assert (model(target, source=source) != model(target, source=other)).any(-1).all()
    assert (model.encode(source).hidden != model.encode(other).hidden).any(-1).all()


@torch.no_grad()
def test_an_encoder_with_a_window_sees_so_far_both_ways():
    (block, _) = ORIGINAL.encoder.blocks
    near = replace(block, attention=replace(block.attention, window=3))
    model = build(replace(ORIGINAL, encoder=replace(ORIGINAL.encoder, blocks=(near,))))
    source = some_source(4, 9)
    seen = (model.encode(source).hidden != model.encode(changed_at(source, 4)).hidden).any(-1).any(0)
    assert seen.tolist() == [False, False, True, True, True, True, True, False, False]


@torch.no_grad()
@given(model=translators(), borders=splits)
def test_cached_is_uncached(model, borders):
    source, target = some_source(2, SOURCE), some_tokens(2, TARGET)
    assert difference(in_chunks(model, source, target, borders), model(target, source=source)) <= CLOSE


@torch.no_grad()
@given(model=translators(), borders=splits, lengths=lengths, side=sides, source_side=sides)
def test_padded_cached_and_alone_are_the_same(model, borders, lengths, side, source_side):
    """Unequal sources and targets in one batch: uncached, chunk by chunk, and each pair alone without padding."""
    of_source, of_target = zip(*lengths, strict=True)
    source, real_source = pad(some_source(len(lengths), SOURCE), of_source, source_side)
    target, real = pad(some_tokens(len(lengths), TARGET), of_target, side)
    places = {"source_positions": positions_of(real_source), "positions": positions_of(real)}
    together = model(target, source=source, **places)
    assert together.isfinite().all()  # at padding too, or a loss would turn to NaN
    assert difference(in_chunks(model, source, target, borders, **places)[real], together[real]) <= CLOSE
    for row in range(len(lengths)):
        alone = model(target[row][real[row]][None], source=source[row][real_source[row]][None])[0]
        assert difference(together[row][real[row]], alone) <= CLOSE


@torch.no_grad()
@given(model=translators(), lengths=lengths, side=sides)
def test_the_readable_path_is_the_fused_path(model, lengths, side):
    of_source, of_target = zip(*lengths, strict=True)
    source, real_source = pad(some_source(len(lengths), SOURCE), of_source, side)
    target, real = pad(some_tokens(len(lengths), TARGET), of_target, side)
    places = {"source_positions": positions_of(real_source), "positions": positions_of(real)}
    with trace(model):
        readable = model(target, source=source, **places)
    assert difference(readable[real], model(target, source=source, **places)[real]) <= CLOSE


@torch.no_grad()
@given(model=translators(), kept=st.integers(1, TARGET - 1))
def test_a_truncated_cache_goes_on_from_there(model, kept):
    source, target = some_source(2, SOURCE), some_tokens(2, TARGET)
    cache = KVCache(len(model.decoder.blocks), capacity=2)
    model(changed_at(target, kept), source=source, cache=cache)
    cache.truncate(kept)
    assert difference(model(target[:, kept:], cache=cache), model(target, source=source)[:, kept:]) <= CLOSE


@torch.no_grad()
@given(model=translators(), orders=st.lists(st.lists(st.integers(0, 2), min_size=3, max_size=5), max_size=3))
def test_a_reordered_cache_goes_on_with_other_rows(model, orders):
    """As beams do: rows repeat and are dropped, several times, sources of unequal lengths with them."""
    source, real_source = pad(some_source(3, SOURCE), [3, 8, 5], "right")
    target, cache = some_tokens(3, TARGET), KVCache(len(model.decoder.blocks), capacity=2)
    places = {"source_positions": positions_of(real_source)}
    model(target[:, :-1], source=source, cache=cache, **places)
    rows = torch.arange(3)
    for order in orders:
        cache.reorder(order)
        rows = rows[torch.tensor(order)]
    expected = model(target, source=source, **places)[rows, -1:]
    assert difference(model(target[rows, -1:], cache=cache), expected) <= CLOSE


@torch.no_grad()
def test_the_source_is_read_once():
    """With a filled cache neither the encoder nor the keys and values of cross-attention are worked out again."""
    model, cache = build(ORIGINAL), KVCache(2)
    model(some_tokens(1, 3), source=some_source(1, SOURCE), cache=cache)
    with trace(model) as recorded:
        model(some_tokens(1, 1), cache=cache)
    assert not [path for path in recorded if path.startswith("encoder") or ".cross_attention.key." in path]
    assert "decoder.blocks.1.cross_attention.key" not in recorded
    assert recorded["decoder.blocks.1.cross_attention.keys"].value.shape == (1, 4, SOURCE, 4)


@torch.no_grad()
@pytest.mark.parametrize("name", ENCODER_DECODERS)
def test_a_source_of_one_table_or_two(name):
    spec = ENCODER_DECODERS[name]
    names = build(spec).state_dict()
    assert ("source_embedding.weight" in names) == (spec.source_vocab_size is not None)


@torch.no_grad()
def test_a_cache_without_a_source_asks_for_one():
    model = build(ORIGINAL)
    with pytest.raises(ValueError, match="no source to attend to"):
        model(some_tokens(1, 1), cache=KVCache(2))
    with pytest.raises(ValueError, match="no source to attend to"):
        model(some_tokens(1, 1))


def test_only_an_encoder_decoder_reads_a_source():
    assert Transformer(DEFAULT).encoder is None
    assert not DEFAULT.is_encoder_decoder
    assert Transformer(ORIGINAL).encoder is not None
    assert ORIGINAL.is_encoder_decoder
    with pytest.raises(ValueError, match="reads no source"):
        build(DEFAULT)(some_tokens(1, 3), source=some_source(1, 3))
    with pytest.raises(ValueError, match="no source to attend to"):
        build(ORIGINAL)(some_tokens(1, 3))


def test_the_original_has_the_numbers_of_its_paper():
    """Table 3 of Vaswani et al. 2017: 65 million parameters with a vocabulary of about 37,000."""
    spec = original(37_000)
    with torch.device("meta"):
        count = sum(parameter.numel() for parameter in Transformer(spec).parameters())
    assert round(count / 1e6) in (63, 64, 65)


def test_gradients_of_a_fused_bias_are_those_of_the_readable_path():
    model = build(ENCODER_DECODERS["relative"], dtype=torch.float64)
    source, target = some_source(2, SOURCE), some_tokens(2, TARGET)
    gradients = []
    for watched in (False, True):
        model.zero_grad()
        if watched:
            with trace(model):
                model(target, source=source).square().sum().backward()
        else:
            model(target, source=source).square().sum().backward()
        gradients.append({name: parameter.grad.clone() for name, parameter in model.named_parameters()})
    for name, gradient in gradients[0].items():
        assert gradient.abs().max() > 0, name
        assert difference(gradient, gradients[1][name]) <= 1e-9, name
