"""The prefix cache against a set of beginnings: what it finds is what was kept, in bounded memory."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from openbook.generation.batching.prefix_cache import PrefixCache
from openbook.generation.engines.engine import BLOCK_TOKENS

BYTES = 10
"""Of a block here."""

sequences = st.lists(st.sampled_from([0, 1]), max_size=5).map(
    lambda blocks: [token for block in blocks for token in [block] * BLOCK_TOKENS]
)


class Machine(RuleBasedStateMachine):
    """Blocks stand for the tokens up to their end."""

    def __init__(self) -> None:
        super().__init__()
        self.cache = PrefixCache(7 * BYTES + 3)
        self.saved: set[tuple[int, ...]] = set()

    @rule(tokens=sequences, more=st.integers(0, BLOCK_TOKENS - 1))
    def insert(self, tokens, more) -> None:
        def save(start, stop):
            assert stop - start == BLOCK_TOKENS
            self.saved.add(tuple(tokens[:stop]))
            block = np.zeros(BYTES, dtype=np.uint8).view(Block)
            block.beginning = tuple(tokens[:stop])
            return block

        self.cache.insert([*tokens, *[2] * more], save)
        assert len(self.cache.find(tokens)) == len(tokens) // BLOCK_TOKENS, "what came last is there whole"

    @rule(tokens=sequences)
    def find(self, tokens) -> None:
        found = self.cache.find(tokens)
        ends = range(BLOCK_TOKENS, len(tokens) + 1, BLOCK_TOKENS)
        beginnings = [tuple(tokens[:end]) for end in ends]
        assert [block.beginning for block in found] == beginnings[: len(found)]
        assert set(beginnings[: len(found)]) <= self.saved

    @invariant()
    def memory_is_bounded(self) -> None:
        assert self.cache.nbytes <= 7 * BYTES

    @rule()
    def clear(self) -> None:
        self.cache.clear()
        self.saved.clear()
        assert self.cache.nbytes == 0


class Block(np.ndarray):
    beginning: tuple[int, ...]


TestPrefixCache = Machine.TestCase


def block(*_):
    return np.zeros(BYTES, dtype=np.uint8)


def test_what_was_not_used_for_longest_goes_first() -> None:
    cache = PrefixCache(3 * BYTES)
    one, two, three, four = ([token] * BLOCK_TOKENS for token in range(4))
    for tokens in (one, two, three):
        cache.insert(tokens, block)
    cache.find(one)
    cache.insert(four, block)
    assert [len(cache.find(tokens)) for tokens in (one, two, three, four)] == [1, 0, 1, 1]


def test_a_beginning_outlives_its_ends() -> None:
    cache = PrefixCache(3 * BYTES)
    begin = [0] * BLOCK_TOKENS
    for end in range(1, 9):
        cache.insert([*begin, *[end] * BLOCK_TOKENS], block)
    assert len(cache.find([*begin, *[8] * BLOCK_TOKENS])) == 2
    assert len(cache.find([*begin, *[1] * BLOCK_TOKENS])) == 1


def test_what_is_longer_than_the_memory_is_kept_as_far_as_it_fits() -> None:
    cache = PrefixCache(3 * BYTES)
    cache.insert(list(range(10 * BLOCK_TOKENS)), block)
    assert len(cache.find(list(range(10 * BLOCK_TOKENS)))) == 3
    nothing = PrefixCache(0)
    nothing.insert(list(range(BLOCK_TOKENS)), lambda start, stop: 1 / 0)
    assert nothing.find(list(range(BLOCK_TOKENS))) == []


@given(st.lists(st.integers(0, 1), max_size=3 * BLOCK_TOKENS))
def test_only_whole_blocks_are_found(tokens) -> None:
    cache = PrefixCache(100 * BYTES)
    cache.insert(tokens, block)
    assert len(cache.find(tokens)) == len(tokens) // BLOCK_TOKENS
