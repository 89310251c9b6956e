"""Keys and values of the tokens so far, so that each new token costs one step and not the whole prefix.

An encoder-decoder's cache also holds those of the source, worked out once a sentence.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from openbook.generation.padding import below_each_other, first_used
from openbook.transformer.cache import EncoderOutput
from openbook.transformer.mask import TokenPositions

ROOM = 8
"""Columns that there is room for, or a quarter of those that are there, when a cache grows or rows have joined."""
TIDY_STEPS = 4
"""After so many steps of a session with beams, what no beam goes on from any more is thrown away."""


class Room:
    """How many columns there is room for, in the buffers of all layers alike."""

    def __init__(self, columns: int) -> None:
        self.columns = columns

    def extend(self, needed: int) -> None:
        """Have room for at least so many."""
        if self.columns < needed:
            self.columns = needed + max(ROOM, needed // 4)


class LayerCache:
    """Keys and values of one layer, in buffers with `room` for some more columns."""

    def __init__(self, room: Room) -> None:
        self.length = 0
        self._room = room
        self._key: Tensor | None = None
        self._value: Tensor | None = None

    def append(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Keep key and value (B, G, T, K); give back all so far, (B, G, S, K)."""
        start = self.length
        for buffer, new in zip(self.opened(key.shape[2], key, value), (key, value), strict=True):
            buffer[:, :, start : self.length] = new
        return self.get()

    def opened(self, columns: int, key: Tensor | None = None, value: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The whole buffers (B, G, C, K), to write so many more columns into, which count as kept from now on.

        The first `key` and `value` tell an empty cache what it is to hold.
        """
        end = self.length + columns
        self._room.extend(end)
        if self._key is None or self._value is None or self._key.shape[2] < self._room.columns:
            self._key, self._value = self._grown(self._key, key), self._grown(self._value, value)
        self.length = end
        return self._key, self._value

    def get(self) -> tuple[Tensor, Tensor]:
        """All keys and values so far, (B, G, S, K)."""
        assert self._key is not None and self._value is not None, "nothing was kept yet"
        return self._key[:, :, : self.length], self._value[:, :, : self.length]

    def put(self, key: Tensor, value: Tensor) -> None:
        """Keep these (B, G, S, K) in place of all that was kept: from engines that hand back longer ones."""
        self._key, self._value = key, value
        self.length = self._room.columns = key.shape[2]

    def _grown(self, buffer: Tensor | None, new: Tensor | None) -> Tensor:
        like = new if buffer is None else buffer
        assert like is not None, "an empty cache is told what it is to hold"
        larger = like.new_empty(*like.shape[:2], self._room.columns, like.shape[3])
        if buffer is not None:
            larger[:, :, : self.length] = buffer[:, :, : self.length]
        larger[:, :, self.length :] = 0
        return larger

    def reorder(self, rows: Tensor, moves: Sequence[tuple[int, int]] | None) -> None:
        """Row i becomes what row rows[i] was; where `moves` say which do so, (to, from), nothing else is copied."""
        if self._key is None or self._value is None:
            return
        if moves is None or len(rows) > self._key.shape[0]:
            self._key, self._value = self._key[rows], self._value[rows]
            return
        for buffer in (self._key, self._value):
            for place, before in moves:  # one by one takes half as long as together, on a CPU
                buffer[place] = buffer[before]
        self._key, self._value = self._key[: len(rows)], self._value[: len(rows)]

    def pick(self, columns: Tensor) -> None:
        """Keep these columns (B, S) of each row alone, in one copy."""
        assert self._key is not None and self._value is not None, "nothing was kept yet"
        rows, heads, capacity, width = self._key.shape
        self.length = columns.shape[1]
        columns = F.pad(columns, (0, self._room.columns - self.length))
        places = torch.arange(rows * heads, device=columns.device).view(rows, heads, 1) * capacity
        places = (places + columns[:, None]).flatten()
        shape = (rows, heads, columns.shape[1], width)
        self._key = self._key.view(-1, width).index_select(0, places).view(shape)
        self._value = self._value.view(-1, width).index_select(0, places).view(shape)

    def truncate(self, length: int) -> None:
        """Forget all but the first `length` tokens."""
        self.length = min(self.length, length)

    def join(self, others: Sequence["LayerCache"], start: int) -> None:
        """The rows of other layers follow; of those here only the columns from `start` on stay.

        What is shorter is padded on the left.
        """
        keys, values = zip(*(layer.get() for layer in (self, *others)), strict=True)
        keys, values = ((each[0][:, :, start:], *each[1:]) for each in (keys, values))
        self.length = max(key.shape[2] for key in keys)
        self._key, self._value = self._joined(keys), self._joined(values)

    def _joined(self, tensors: Sequence[Tensor]) -> Tensor:
        _, heads, _, width = tensors[0].shape
        joined = tensors[0].new_empty(sum(map(len, tensors)), heads, self._room.columns, width)
        row = 0
        for each in tensors:
            rows = joined[row : row + len(each)]
            rows[:, :, : self.length - each.shape[2]] = 0
            rows[:, :, self.length :] = 0
            rows[:, :, self.length - each.shape[2] : self.length] = each
            row += len(each)
        return joined


class Cache:
    """The caches of all layers and the places of what they hold.

    Args:
        layers: number of layers N.
        capacity: tokens to make room for at first.
    """

    def __init__(self, layers: int, capacity: int = 64) -> None:
        self._room, self._source_room = Room(capacity), Room(0)
        self.layers: Sequence[LayerCache] = [LayerCache(self._room) for _ in range(layers)]
        self.cross_layers: Sequence[LayerCache] = [LayerCache(self._source_room) for _ in range(layers)]
        self.length = 0
        self.padded = False
        # Negative, and False, in columns that nothing has filled yet.
        self._positions: Tensor | None = None
        self._ancestors: Tensor | None = None
        self.source: EncoderOutput | None = None
        self._tidy_at = 0

    @property
    def next_position(self) -> Tensor:
        """Where each row goes on, (B or 1, 1), when shorter rows are padded."""
        assert self._positions is not None, "an empty cache has no row to go on with"
        return self._positions[:, self.length - 1 : self.length] + 1

    def append(self, query: TokenPositions) -> TokenPositions:
        """Add the newest tokens' positions (B or 1, T) and return those of all keys (B or 1, S)."""
        if query.document is not None:
            raise ValueError("a cache holds one document a row; documents apply to uncached passes only")
        if self._positions is None:
            self._positions = query.position[:, :0]
        start = self.length
        places = self._opened(*query.position.shape)
        places.position[:, start : self.length] = query.position
        self.padded = self.padded or query.padded
        ancestors = None if places.ancestors is None else places.ancestors[..., : self.length]
        return TokenPositions(places.position[:, : self.length], None, ancestors, self.padded)

    def open(self, rows: int, columns: int) -> TokenPositions:
        """The places of all columns (B, C) that there is room for, after so many more: somebody else writes those.

        They are negative in the new columns, as in those that are not filled. The same tensors are given until they
        have to grow, or rows or beams have moved; so it is with the layers' buffers.
        """
        for layer in self.layers:
            layer.opened(columns)
        return self._opened(rows, columns)

    def _opened(self, rows: int, columns: int) -> TokenPositions:
        assert self._positions is not None, "an empty cache has no places"
        if self._positions.shape[0] < rows:
            self._positions = self._positions.expand(rows, -1).contiguous()
        start, self.length = self.length, self.length + columns
        self._room.extend(self.length)
        self._positions = self._with_room(self._positions, -1)
        if self._ancestors is not None:
            self._ancestors = self._with_room(self._ancestors, False)
            itself = torch.eye(columns, dtype=torch.bool, device=self._positions.device)
            self._ancestors[..., start : self.length] = itself
        return TokenPositions(self._positions, ancestors=self._ancestors)

    def _with_room(self, values: Tensor, fill: float) -> Tensor:
        """values (…, S) in a buffer of as many columns as there is room for: themselves, if it is."""
        missing = self._room.columns - values.shape[-1]
        return F.pad(values, (0, missing), value=fill) if missing else values

    def branch(self, parents: Tensor) -> None:
        """From now on each step adds a token to each of W beams a row: beam i goes on from beam parents (B, W)[i].

        Beams are never copied. The tokens of all of them are columns of their row, and each beam sees those that it
        goes on from.
        """
        assert self._positions is not None, "an empty cache has nothing to go on from"
        rows, beams = parents.shape
        if self._ancestors is None:
            self._ancestors = self._with_room(parents.new_ones(rows, beams, self.length, dtype=torch.bool), False)
            self._tidy_at = self.length + TIDY_STEPS * beams
        else:
            self._ancestors = _of_beams(self._ancestors, parents)

    def put_source(self, positions: TokenPositions) -> None:
        """Keep the positions of a source whose keys and values the layers are given."""
        self.source = EncoderOutput(None, positions._replace(padded=True))

    def tidy(self) -> None:
        """Throw away the columns that no beam sees, if it is time to."""
        if self._ancestors is None or self._positions is None or self.length < self._tidy_at:
            return
        beams = self._ancestors.shape[1]
        seen = self._ancestors.any(dim=1)
        most = int(seen.sum(dim=1).max())
        # Rows that see fewer columns than others begin with some that nobody sees: the newest are last in all.
        columns = seen.to(torch.uint8).argsort(dim=1, stable=True)[:, -most:]
        positions = self._positions.expand(len(columns), -1).gather(1, columns)
        self.length, self.padded = most, True
        self._tidy_at = self._room.columns = most + TIDY_STEPS * beams
        self._positions = self._with_room(positions.where(seen.gather(1, columns), -1), -1)
        self._ancestors = self._with_room(self._ancestors.gather(2, columns[:, None].expand(-1, beams, -1)), False)
        for layer in self.layers:
            layer.pick(columns)

    def reorder(self, rows: Tensor) -> None:
        """Row i becomes what row rows[i] was. Rows that stay at their places are not copied, if most do."""
        if self._ancestors is not None:
            self._ancestors = self._ancestors[rows]
        if self._positions is not None and self._positions.shape[0] > 1:
            self._positions = self._positions[rows]
        if self.source is not None and self.source.positions.position.shape[0] > 1:
            positions = self.source.positions
            self.source = EncoderOutput(None, positions._replace(position=positions.position[rows]))
        moves = [(place, before) for place, before in enumerate(rows.tolist()) if place != before]
        to, come = zip(*moves, strict=True) if moves else ((), ())
        # One after the other, so that none may come from where another has gone to.
        few = moves if 2 * len(moves) <= len(rows) and not set(to) & set(come) else None
        for layer in (*self.layers, *self.cross_layers):
            layer.reorder(rows, few)

    def join(self, others: Sequence["Cache"]) -> None:
        """The rows of other caches follow: what is shorter is padded on the left, and columns of padding alone go."""
        positions = [cache._all_positions() for cache in (self, *others)]
        start = first_used(positions[0])
        joined = below_each_other([positions[0][:, start:], *positions[1:]], -1)
        length, self.length, self.padded = self.length, joined.shape[1], True
        self._room.columns = self.length + ROOM
        self._positions = self._with_room(joined, -1)
        if self._ancestors is not None:
            ancestors = [each._ancestors[..., : each.length] for each in others if each._ancestors is not None]
            assert len(ancestors) == len(others), "one has branched, another has not"
            joined = below_each_other([self._ancestors[..., start:length], *ancestors], False)
            self._ancestors = self._with_room(joined, False)
            self._tidy_at = max(self._tidy_at - start, *(cache._tidy_at for cache in others))
        for layer, *same in zip(self.layers, *(cache.layers for cache in others), strict=True):
            layer.join(same, start)
        if self.source is None:
            return
        read = [cache._all_source_positions(len(rows)) for cache, rows in zip((self, *others), positions, strict=True)]
        start = first_used(read[0])
        joined = below_each_other([read[0][:, start:], *read[1:]], -1)
        self._source_room.columns = joined.shape[1]
        self.put_source(TokenPositions(joined))
        for layer, *same in zip(self.cross_layers, *(cache.cross_layers for cache in others), strict=True):
            layer.join(same, start)

    def _all_source_positions(self, rows: int) -> Tensor:
        assert self.source is not None, "the cache holds no source"
        return self.source.positions.position.expand(rows, -1)

    def _all_positions(self) -> Tensor:
        """Those of each row, (B, S), also where all have the same."""
        assert self._positions is not None, "an empty cache has no rows"
        return self._positions[:, : self.length].expand(len(self.layers[0].get()[0]), -1)

    def truncate(self, length: int) -> None:
        """Forget all but the first `length` tokens. Raises ValueError where rows have branched."""
        if self._ancestors is not None:
            raise ValueError("the columns of a cache that has branched are not in order")
        if self._positions is not None:
            self._positions[:, length:] = -1
        self.length = min(self.length, length)
        for layer in self.layers:
            layer.truncate(length)


def _of_beams(ancestors: Tensor, parents: Tensor) -> Tensor:
    """ancestors (B, W, S) of the beams parents (B, W′) → (B, W′, S)."""
    return ancestors.gather(1, parents[..., None].expand(-1, -1, ancestors.shape[-1]))
