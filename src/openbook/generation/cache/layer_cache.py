"""Keys and values of one attention."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from openbook.generation.cache.capacity import Capacity


class LayerCache:
    """Keys and values (B, G, C, K) in buffers of `capacity` columns, the first `length` of which are filled."""

    def __init__(self, capacity: Capacity) -> None:
        self.length = 0
        self._capacity = capacity
        self._key: Tensor | None = None
        self._value: Tensor | None = None

    def append(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Add key and value (B, G, T, K); return all so far, (B, G, S, K)."""
        start = self.length
        for buffer, new in zip(self.reserve(key.shape[2], key, value), (key, value), strict=True):
            buffer[:, :, start : self.length] = new
        return self.get()

    def get(self) -> tuple[Tensor, Tensor]:
        """All keys and values so far, (B, G, S, K)."""
        assert self._key is not None and self._value is not None, "the cache is empty"
        return self._key[:, :, : self.length], self._value[:, :, : self.length]

    def set(self, key: Tensor, value: Tensor) -> None:
        """Replace everything by key and value (B, G, S, K)."""
        self._key, self._value = key, value
        self.length = self._capacity.columns = key.shape[2]

    def reserve(self, columns: int, key: Tensor | None = None, value: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Count so many more columns as filled, and return the whole buffers (B, G, C, K) for the caller to write them.

        The first `key` and `value` tell an empty cache its shapes and dtype.
        """
        end = self.length + columns
        self._capacity.ensure(end)
        if self._key is None or self._value is None or self._key.shape[2] < self._capacity.columns:
            self._key, self._value = self._grown(self._key, key), self._grown(self._value, value)
        self.length = end
        return self._key, self._value

    def _grown(self, buffer: Tensor | None, new: Tensor | None) -> Tensor:
        like = new if buffer is None else buffer
        assert like is not None, "an empty cache does not know its shapes"
        larger = like.new_empty(*like.shape[:2], self._capacity.columns, like.shape[3])
        if buffer is not None:
            larger[:, :, : self.length] = buffer[:, :, : self.length]
        larger[:, :, self.length :] = 0
        return larger

    def reorder(self, rows: Tensor, moves: Sequence[tuple[int, int]] | None) -> None:
        """Row i becomes what row rows[i] was. If `moves` (to, from) are given, only these are copied."""
        if self._key is None or self._value is None:
            return
        if moves is None or len(rows) > self._key.shape[0]:
            self._key, self._value = self._key[rows], self._value[rows]
            return
        for buffer in (self._key, self._value):
            for row, before in moves:  # one by one takes half as long as together, on a CPU
                buffer[row] = buffer[before]
        self._key, self._value = self._key[: len(rows)], self._value[: len(rows)]

    def select_columns(self, columns: Tensor) -> None:
        """Keep only these columns (B, S) of each row."""
        assert self._key is not None and self._value is not None, "the cache is empty"
        rows, heads, capacity, width = self._key.shape
        self.length = columns.shape[1]
        columns = F.pad(columns, (0, self._capacity.columns - self.length))
        indices = torch.arange(rows * heads, device=columns.device).view(rows, heads, 1) * capacity
        indices = (indices + columns[:, None]).flatten()
        shape = (rows, heads, columns.shape[1], width)
        self._key = self._key.view(-1, width).index_select(0, indices).view(shape)
        self._value = self._value.view(-1, width).index_select(0, indices).view(shape)

    def truncate(self, length: int) -> None:
        """Keep the first `length` columns."""
        self.length = min(self.length, length)

    def join(self, others: Sequence["LayerCache"], start: int) -> None:
        """Append the rows of other layers; of the rows here only the columns from `start` stay.

        Shorter rows are padded on the left.
        """
        keys, values = zip(*(layer.get() for layer in (self, *others)), strict=True)
        keys, values = ((each[0][:, :, start:], *each[1:]) for each in (keys, values))
        self.length = max(key.shape[2] for key in keys)
        self._key, self._value = self._joined(keys), self._joined(values)

    def _joined(self, tensors: Sequence[Tensor]) -> Tensor:
        _, heads, _, width = tensors[0].shape
        joined = tensors[0].new_empty(sum(map(len, tensors)), heads, self._capacity.columns, width)
        row = 0
        for each in tensors:
            rows = joined[row : row + len(each)]
            rows[:, :, : self.length - each.shape[2]] = 0
            rows[:, :, self.length :] = 0
            rows[:, :, self.length - each.shape[2] : self.length] = each
            row += len(each)
        return joined
