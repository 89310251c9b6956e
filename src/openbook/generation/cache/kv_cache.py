"""The cache of a decoder: keys and values of the tokens so far, so a new token costs one step and not the whole prefix.

For an encoder-decoder it also holds the keys and values of the source, computed once.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from openbook.generation.cache.beam_tree import BeamTree
from openbook.generation.cache.capacity import MIN_SPARE_COLUMNS, Capacity, concat_left_padded, first_used_column
from openbook.generation.cache.layer_cache import LayerCache
from openbook.transformer.cache import EncoderOutput
from openbook.transformer.mask import TokenPositions


class KVBlock(NamedTuple):
    """Keys and values (G, T, K) of all layers for T tokens of a row."""

    keys: list[Tensor]
    values: list[Tensor]

    @property
    def nbytes(self) -> int:
        """Bytes of memory that it takes."""
        return sum(each.nbytes for each in (*self.keys, *self.values))


class KVCache:
    """The caches of all layers, and the positions of what they hold; see `transformer.cache.DecoderCache`.

    Args:
        layers: number of layers N.
        capacity: tokens to make room for at first.
    """

    def __init__(self, layers: int, capacity: int = 64) -> None:
        self._capacity, self._source_capacity = Capacity(capacity), Capacity(0)
        self.layers: Sequence[LayerCache] = [LayerCache(self._capacity) for _ in range(layers)]
        self.cross_layers: Sequence[LayerCache] = [LayerCache(self._source_capacity) for _ in range(layers)]
        self.length = 0
        self.padded = False
        self.source: EncoderOutput | None = None
        self._positions: Tensor | None = None  # (B or 1, C), negative in columns that are not filled
        self._beams: BeamTree | None = None

    @property
    def branched(self) -> bool:
        """Whether rows have beams."""
        return self._beams is not None

    @property
    def next_position(self) -> Tensor:
        """The position (B or 1, 1) of each row's next token."""
        assert self._positions is not None, "an empty cache has no row to continue"
        return self._positions[:, self.length - 1 : self.length] + 1

    def append(self, query: TokenPositions) -> TokenPositions:
        """Add the positions of the newest tokens (B or 1, T); return those of all keys (B or 1, S)."""
        if query.document is not None:
            raise ValueError("a cache holds one document a row; documents apply to uncached passes only")
        if self._positions is None:
            self._positions = query.position[:, :0]
        start = self.length
        positions = self._reserve(*query.position.shape)
        positions.position[:, start : self.length] = query.position
        self.padded = self.padded or query.padded
        ancestors = None if positions.ancestors is None else positions.ancestors[..., : self.length]
        return TokenPositions(positions.position[:, : self.length], None, ancestors, self.padded)

    def reserve(self, rows: int, columns: int) -> TokenPositions:
        """Count so many more columns as filled, and return the positions of all columns (B, C) for the caller to write.

        They are negative in the new columns and in those that are not filled. The tensors stay the same until they
        grow, or rows or beams move; so do the layers' buffers.
        """
        for layer in self.layers:
            layer.reserve(columns)
        return self._reserve(rows, columns)

    def _reserve(self, rows: int, columns: int) -> TokenPositions:
        assert self._positions is not None, "an empty cache has no positions"
        if self._positions.shape[0] < rows:
            self._positions = self._positions.expand(rows, -1).contiguous()
        start, self.length = self.length, self.length + columns
        self._capacity.ensure(self.length)
        self._positions = self._capacity.pad(self._positions, -1)
        if self._beams is not None:
            self._beams.append(start, self.length)
        return TokenPositions(self._positions, ancestors=None if self._beams is None else self._beams.ancestors)

    def set_source(self, positions: TokenPositions) -> None:
        """Set the positions of a source whose keys and values the cross-layers are given."""
        self.source = EncoderOutput(None, positions._replace(padded=True))

    def branch(self, parents: Tensor) -> None:
        """From now on each step adds a token to each of W beams a row; beam i continues beam parents (B, W)[i]."""
        assert self._positions is not None, "an empty cache has nothing to continue"
        if self._beams is None:
            ancestors = parents.new_ones(*parents.shape, self.length, dtype=torch.bool)
            self._beams = BeamTree(ancestors, self._capacity)
        else:
            self._beams.branch(parents)

    def prune(self) -> None:
        """Remove the columns that no beam continues, if it is time to."""
        if self._beams is None or self._positions is None or self.length < self._beams.prune_at:
            return
        columns, used = self._beams.used_columns()
        positions = self._positions.expand(len(columns), -1).gather(1, columns)
        self.length, self.padded = columns.shape[1], True
        self._beams.select_columns(columns)
        self._positions = self._capacity.pad(positions.where(used, -1), -1)
        for layer in self.layers:
            layer.select_columns(columns)

    def reorder(self, rows: Sequence[int]) -> None:
        """Row i becomes what row rows[i] was. Rows that keep their places are not copied, if most do."""
        assert self._positions is not None, "an empty cache has no rows"
        index = torch.tensor(rows, device=self._positions.device)
        if self._beams is not None:
            self._beams.reorder(index)
        if self._positions.shape[0] > 1:
            self._positions = self._positions[index]
        if self.source is not None and self.source.positions.position.shape[0] > 1:
            positions = self.source.positions
            self.source = EncoderOutput(None, positions._replace(position=positions.position[index]))
        moves = [(row, before) for row, before in enumerate(rows) if row != before]
        targets, origins = zip(*moves, strict=True) if moves else ((), ())
        # One after the other, so no row may come from where another has moved to.
        few = moves if 2 * len(moves) <= len(rows) and not set(targets) & set(origins) else None
        for layer in (*self.layers, *self.cross_layers):
            layer.reorder(index, few)
        self._compact()

    def _compact(self) -> None:
        """Drop the columns that are padding in all rows, once they are most."""
        if self.padded and not self.branched and 2 * first_used_column(self._row_positions()) >= self.length:
            self.join([])

    def join(self, others: Sequence["KVCache"]) -> None:
        """Append the rows of other caches. Shorter rows are padded on the left, columns of padding alone removed."""
        positions = [cache._row_positions() for cache in (self, *others)]
        lengths = [cache.length for cache in (self, *others)]
        start = first_used_column(positions[0])
        joined = concat_left_padded([positions[0][:, start:], *positions[1:]], -1)
        self.length, self.padded = joined.shape[1], True
        self._capacity.columns = self.length + MIN_SPARE_COLUMNS
        self._positions = self._capacity.pad(joined, -1)
        if self._beams is not None:
            trees = [cache._beams for cache in others if cache._beams is not None]
            assert len(trees) == len(others), "one has branched, another has not"
            self._beams.join(trees, lengths, start)
        for layer, *same in zip(self.layers, *(cache.layers for cache in others), strict=True):
            layer.join(same, start)
        if self.source is not None:
            self._join_sources(others, [len(rows) for rows in positions])

    def _join_sources(self, others: Sequence["KVCache"], rows: Sequence[int]) -> None:
        positions = [cache._source_positions(each) for cache, each in zip((self, *others), rows, strict=True)]
        start = first_used_column(positions[0])
        joined = concat_left_padded([positions[0][:, start:], *positions[1:]], -1)
        self._source_capacity.columns = joined.shape[1]
        self.set_source(TokenPositions(joined))
        for layer, *same in zip(self.cross_layers, *(cache.cross_layers for cache in others), strict=True):
            layer.join(same, start)

    def _source_positions(self, rows: int) -> Tensor:
        assert self.source is not None, "the cache holds no source"
        return self.source.positions.position.expand(rows, -1)

    def _row_positions(self) -> Tensor:
        """The positions of each row, (B, S), even if all rows share them."""
        assert self._positions is not None, "an empty cache has no rows"
        return self._positions[:, : self.length].expand(len(self.layers[0].get()[0]), -1)

    def save(self, row: int, start: int, stop: int) -> KVBlock:
        """A copy of what a row keeps of its tokens from `start` to `stop`.

        Raises:
            ValueError: rows have branched, or look at sources.
        """
        if self.branched or self.source is not None:
            raise ValueError("only a row that has neither beams nor a source can be saved")
        positions = self._row_positions()[row]
        columns = ((positions >= start) & (positions < stop)).nonzero()[:, 0]
        kept = [layer.get() for layer in self.layers]
        return KVBlock([key[row][:, columns] for key, _ in kept], [value[row][:, columns] for _, value in kept])

    def restore(self, blocks: Sequence[KVBlock]) -> None:
        """Fill an empty cache with one row that has the tokens of these blocks."""
        for number, layer in enumerate(self.layers):
            keys, values = [b.keys[number] for b in blocks], [b.values[number] for b in blocks]
            layer.append(torch.cat(keys, dim=1)[None], torch.cat(values, dim=1)[None])
        length = sum(block.keys[0].shape[1] for block in blocks)
        self.append(TokenPositions(torch.arange(length, device=blocks[0].keys[0].device)[None]))

    def truncate(self, length: int) -> None:
        """Keep the first `length` tokens. Raises ValueError if rows have branched."""
        if self._beams is not None:
            raise ValueError("the columns of a cache that has branched are not in order")
        if self._positions is not None:
            self._positions[:, length:] = -1
        self.length = min(self.length, length)
        for layer in self.layers:
            layer.truncate(length)
