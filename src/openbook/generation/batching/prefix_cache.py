"""Beginnings of sequences that were read before: a radix tree of blocks of keys and values, in bounded memory.

Sequences with a common beginning share its blocks. What was not used for longest goes first.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence

from openbook.generation.engines.engine import BLOCK_TOKENS, CacheBlock


class _Node:
    """A block of tokens after those of its parent."""

    def __init__(self, parent: "_Node | None", tokens: tuple[int, ...], block: CacheBlock) -> None:
        self.parent, self.tokens, self.block = parent, tokens, block
        self.children: dict[tuple[int, ...], _Node] = {}


class PrefixCache:
    """Blocks of `BLOCK_TOKENS` tokens, found by the tokens up to their end."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._roots: dict[tuple[int, ...], _Node] = {}
        # The least recently used first. With a node all before it are used, and count as later: the first is a leaf.
        self._nodes: OrderedDict[_Node, None] = OrderedDict()
        self.nbytes = 0

    def find(self, tokens: Sequence[int]) -> list[CacheBlock]:
        """The blocks of the longest beginning of these tokens that is kept."""
        path = self._path(tokens)
        self._use(path)
        return [node.block for node in path]

    def insert(self, tokens: Sequence[int], save: Callable[[int, int], CacheBlock]) -> None:
        """Keep the whole blocks of these tokens, as far as they fit.

        Args:
            tokens: of a sequence.
            save: makes the block of its tokens from a start to a stop; called for those that are not kept yet.
        """
        path = self._path(tokens)
        self._use(path)
        kept, start = set(path), len(path) * BLOCK_TOKENS
        while self._max_bytes and start + BLOCK_TOKENS <= len(tokens):
            stop = start + BLOCK_TOKENS
            block = save(start, stop)
            if not self._make_room(block.nbytes, kept):
                break
            node = _Node(path[-1] if path else None, tuple(tokens[start:stop]), block)
            self._children(node.parent)[node.tokens] = node
            self._nodes[node] = None
            self.nbytes += block.nbytes
            path.append(node)
            kept.add(node)
            start = stop
        self._use(path)

    def clear(self) -> None:
        """Forget everything."""
        self._roots.clear()
        self._nodes.clear()
        self.nbytes = 0

    def _path(self, tokens: Sequence[int]) -> list[_Node]:
        path: list[_Node] = []
        children = self._roots
        for start in range(0, len(tokens) - BLOCK_TOKENS + 1, BLOCK_TOKENS):
            node = children.get(tuple(tokens[start : start + BLOCK_TOKENS]))
            if node is None:
                break
            path.append(node)
            children = node.children
        return path

    def _children(self, node: _Node | None) -> dict[tuple[int, ...], _Node]:
        return self._roots if node is None else node.children

    def _use(self, path: Sequence[_Node]) -> None:
        for node in reversed(path):
            self._nodes.move_to_end(node)

    def _make_room(self, nbytes: int, kept: set[_Node]) -> bool:
        """Forget blocks until so many bytes fit; False if that would take one of `kept`."""
        if nbytes > self._max_bytes:
            return False
        while self.nbytes + nbytes > self._max_bytes:
            oldest = next(iter(self._nodes))
            if oldest in kept:
                return False
            del self._nodes[oldest]
            del self._children(oldest.parent)[oldest.tokens]
            self.nbytes -= oldest.block.nbytes
        return True
