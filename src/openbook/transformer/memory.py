"""What a pass leaves for later ones: the encoder's output, and a cache of keys and values."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from torch import Tensor

from openbook.transformer.attention import KeyValueStore
from openbook.transformer.mask import TokenPositions


class Memory(NamedTuple):
    """A source as its encoder gives it to the decoder.

    `hidden` (B, S, D) is None where a cache holds its keys and values; `places` are those of the source tokens, and
    `padded` says that some may be padding.
    """

    hidden: Tensor | None
    places: TokenPositions
    padded: bool = False


class Cache(Protocol):
    """What a model asks of a cache: of the decoder's own tokens, and of the source they look at."""

    @property
    def layers(self) -> Sequence[KeyValueStore]:
        """One for each layer's self-attention."""
        ...

    @property
    def cross_layers(self) -> Sequence[KeyValueStore]:
        """One for each layer's cross-attention, filled once."""
        ...

    @property
    def length(self) -> int:
        """How many tokens it holds."""
        ...

    def place(self, query: TokenPositions, padded: bool) -> tuple[TokenPositions, bool]:
        """Add the newest tokens' places; give back the places of all keys, and whether any is padding."""
        ...

    def look_at(self, memory: Memory | None) -> Memory:
        """Keep the places of a source, which must be given at first; later give them back without hidden vectors."""
        ...
