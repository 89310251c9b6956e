"""A cache that replays a finished run: it shows a pass the keys and values that an earlier moment of the run had.

So the trace of any step can be recorded again when it is looked at, instead of keeping the traces of all.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from openbook.generation.cache.kv_cache import KVCache
from openbook.transformer.cache import AttentionCache
from openbook.transformer.mask import TokenPositions


class ReplayedLayer:
    """The first `length` keys and values of a layer's cache; what is appended is not kept."""

    def __init__(self, kept: AttentionCache, length: int | None) -> None:
        """`length`: None for all."""
        self._kept, self._length = kept, length

    def append(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Add key and value (B, G, T, K) and return all so far, both (B, G, S, K)."""
        kept_key, kept_value = self.get()
        return torch.cat((kept_key, key), dim=2), torch.cat((kept_value, value), dim=2)

    def get(self) -> tuple[Tensor, Tensor]:
        """The keys and values so far, both (B, G, S, K)."""
        key, value = self._kept.get()
        return key[:, :, : self._length], value[:, :, : self._length]


class Replay:
    """What a decoder cache of one row without padding was when it held `length` tokens; see `DecoderCache`."""

    def __init__(self, cache: KVCache, length: int) -> None:
        self.length, self.source = length, cache.source
        self.layers: Sequence[AttentionCache] = [ReplayedLayer(layer, length) for layer in cache.layers]
        self.cross_layers: Sequence[AttentionCache] = [ReplayedLayer(layer, None) for layer in cache.cross_layers]

    def append(self, query: TokenPositions) -> TokenPositions:
        """The positions of all keys (1, S), with those of the newest tokens (1, T)."""
        self.length += query.position.shape[1]
        return TokenPositions(torch.arange(self.length, device=query.position.device)[None])
