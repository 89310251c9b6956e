"""Keys and values of the tokens so far, so that each new token costs one step and not the whole prefix.

An encoder-decoder's cache also holds those of the source, worked out once a sentence.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from openbook.transformer.mask import Places
from openbook.transformer.memory import Memory


class LayerCache:
    """Keys and values of one layer, in buffers that double when they are full."""

    def __init__(self, capacity: int) -> None:
        self.length = 0
        self._capacity = capacity
        self._key: Tensor | None = None
        self._value: Tensor | None = None

    def append(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Keep key and value (B, G, T, K); give back all so far, (B, G, S, K)."""
        end = self.length + key.shape[2]
        self._key = self._store(self._key, key, end)
        self._value = self._store(self._value, value, end)
        self.length = end
        return self.kept()

    def kept(self) -> tuple[Tensor, Tensor]:
        """All keys and values so far, (B, G, S, K)."""
        assert self._key is not None and self._value is not None, "nothing was kept yet"
        return self._key[:, :, : self.length], self._value[:, :, : self.length]

    def _store(self, buffer: Tensor | None, new: Tensor, end: int) -> Tensor:
        if buffer is None or buffer.shape[2] < end:
            self._capacity = max(self._capacity, end if buffer is None else 2 * end)
            larger = new.new_empty(*new.shape[:2], self._capacity, new.shape[3])
            if buffer is not None:
                larger[:, :, : self.length] = buffer[:, :, : self.length]
            buffer = larger
        buffer[:, :, self.length : end] = new
        return buffer

    def reorder(self, rows: Tensor) -> None:
        """Row i becomes what row rows[i] was; rows may repeat, be fewer or more."""
        if self._key is not None and self._value is not None:
            self._key, self._value = self._key[rows], self._value[rows]

    def truncate(self, length: int) -> None:
        """Forget all but the first `length` tokens."""
        self.length = min(self.length, length)


class Cache:
    """The caches of all layers and the places of what they hold.

    Args:
        layers: number of layers N.
        capacity: tokens to make room for at first.
    """

    def __init__(self, layers: int, capacity: int = 64) -> None:
        self.layers: Sequence[LayerCache] = [LayerCache(capacity) for _ in range(layers)]
        self.cross_layers: Sequence[LayerCache] = [LayerCache(0) for _ in range(layers)]
        self._positions: Tensor | None = None
        self._source: Memory | None = None
        self._ancestors: Tensor | None = None
        self.padded = False

    @property
    def length(self) -> int:
        """How many tokens it holds."""
        return 0 if self._positions is None else self._positions.shape[-1]

    @property
    def next_position(self) -> Tensor:
        """Where each row goes on, (B or 1, 1), when shorter rows are padded on the left."""
        assert self._positions is not None, "an empty cache has no row to go on with"
        return self._positions[:, -1:] + 1

    def place(self, query: Places, padded: bool) -> tuple[Places, bool]:
        """Add the newest tokens' places (B or 1, T); give back those of all keys (B or 1, S), and if any is padding."""
        if query.document is not None:
            raise ValueError("a cache holds one document a row; documents apply to uncached passes only")
        positions = query.position
        if self._positions is not None:
            old = self._positions
            rows = max(old.shape[0], positions.shape[0])
            positions = torch.cat((old.expand(rows, -1), positions.expand(rows, -1)), dim=1)
        self._positions = positions
        self.padded = self.padded or padded
        if self._ancestors is not None:
            rows, beams, _ = self._ancestors.shape
            itself = torch.eye(beams, dtype=torch.bool, device=positions.device).expand(rows, -1, -1)
            self._ancestors = torch.cat((self._ancestors, itself), dim=2)
        return Places(positions, ancestors=self._ancestors), self.padded

    def branch(self, parents: Tensor) -> None:
        """From now on each step adds a token to each of W beams a row: beam i goes on from beam parents (B, W)[i].

        Beams are never copied. The tokens of all of them are columns of their row, and each beam sees those that it
        goes on from.
        """
        assert self._positions is not None, "an empty cache has nothing to go on from"
        rows, beams = parents.shape
        if self._ancestors is None:
            self._ancestors = parents.new_ones(rows, beams, self.length, dtype=torch.bool)
        else:
            self._ancestors = self._ancestors.gather(1, parents[..., None].expand(-1, -1, self.length))

    def look_at(self, memory: Memory | None) -> Memory:
        """Keep the places of a source at first; give them back, without its hidden vectors, ever after."""
        if self._source is not None:
            return self._source
        if memory is None or memory.hidden is None:
            raise ValueError("the cache holds no source yet: give one")
        self._source = memory._replace(hidden=None)
        return memory

    def reorder(self, rows: Tensor) -> None:
        """Row i becomes what row rows[i] was."""
        if self._ancestors is not None:
            self._ancestors = self._ancestors[rows]
        if self._positions is not None and self._positions.shape[0] > 1:
            self._positions = self._positions[rows]
        for layer in self.layers:
            layer.reorder(rows)
        if self._source is not None and self._source.places.position.shape[0] > 1:
            self._source = self._source._replace(places=Places(self._source.places.position[rows]))
        for layer in self.cross_layers:
            layer.reorder(rows)

    def truncate(self, length: int) -> None:
        """Forget all but the first `length` tokens."""
        if self._positions is not None:
            self._positions = self._positions[:, :length]
        if self._ancestors is not None:
            self._ancestors = self._ancestors[:, :, :length]
        for layer in self.layers:
            layer.truncate(length)
