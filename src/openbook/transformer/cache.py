"""What the transformer asks of a cache of keys and values, and what an encoder hands to the decoder."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from torch import Tensor

from openbook.transformer.mask import TokenPositions


class AttentionCache(Protocol):
    """Keys and values of one attention."""

    def append(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Add key and value (B, G, T, K) and return all so far, both (B, G, S, K)."""

    def get(self) -> tuple[Tensor, Tensor]:
        """All keys and values so far, both (B, G, S, K)."""


class EncoderOutput(NamedTuple):
    """The encoder's output for a source, as the decoder's cross-attention uses it.

    `hidden` (B, S, D) is None where a cache already holds the source's keys and values.
    """

    hidden: Tensor | None
    positions: TokenPositions


class DecoderCache(Protocol):
    """Keys and values of all layers of the decoder: of its own tokens, and of the source they attend to."""

    length: int
    """How many tokens it holds."""
    source: EncoderOutput | None
    """The source whose keys and values `cross_layers` hold, without its hidden vectors; None before the first pass."""

    @property
    def layers(self) -> Sequence[AttentionCache]:
        """One for each layer's self-attention."""

    @property
    def cross_layers(self) -> Sequence[AttentionCache]:
        """One for each layer's cross-attention, filled once."""

    def append(self, query: TokenPositions) -> TokenPositions:
        """Add the positions of the newest tokens (B or 1, T) and return those of all keys (B or 1, S)."""
