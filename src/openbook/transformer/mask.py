"""Which query may see which key, built from predicates over their places.

A predicate takes the places of queries and of keys, shaped so that they broadcast to (B, T, S), and says
True where the query may look. `both` joins two. Training, cached decoding, beams and the page share these.
"""

from collections.abc import Callable
from functools import reduce
from typing import NamedTuple

import torch
from torch import Tensor


class TokenPositions(NamedTuple):
    """Where tokens stand: positions (B or 1, T), negative for padding; documents alike, or None when all are one.

    Where the tokens of a row form a tree (beams with a common beginning), `ancestors` of the keys (B, T, S) are True
    at the tokens that each query continues, itself included. Positions may be negative or leave gaps only where
    `padded` is set; otherwise they count up from 0.
    """

    position: Tensor
    document: Tensor | None = None
    ancestors: Tensor | None = None
    padded: bool = False

    def unsqueeze(self, dim: int) -> "TokenPositions":
        """Queries with a dimension -1 and keys with a dimension -2 broadcast to (B, T, S)."""
        document = None if self.document is None else self.document.unsqueeze(dim)
        return self._replace(position=self.position.unsqueeze(dim), document=document)


Predicate = Callable[[TokenPositions, TokenPositions], Tensor]

SHARED = -2
"""The document of a beginning that all documents of its row go on from."""


def causal(query: TokenPositions, key: TokenPositions) -> Tensor:
    """A token sees itself and what came before it."""
    return key.position <= query.position


def window(size: int) -> Predicate:
    """A token sees at most itself and the `size` − 1 tokens before it."""
    return lambda query, key: query.position - key.position < size


def around(size: int) -> Predicate:
    """A token sees at most itself and the `size` − 1 tokens before it and after it."""
    return lambda query, key: (query.position - key.position).abs() < size


def not_padding(query: TokenPositions, key: TokenPositions) -> Tensor:
    """Nobody sees padding, but padding sees itself, so that every row of the softmax has something to weigh."""
    return (key.position >= 0) | (key.position == query.position)


def same_document(query: TokenPositions, key: TokenPositions) -> Tensor:
    """A token sees only its own document, and the beginning that all share."""
    assert query.document is not None and key.document is not None
    return (query.document == key.document) | (key.document == SHARED)


def among_ancestors(query: TokenPositions, key: TokenPositions) -> Tensor:
    """A token sees only what it goes on from."""
    assert key.ancestors is not None
    return key.ancestors


def both(first: Predicate, second: Predicate) -> Predicate:
    """True where both predicates are."""
    return lambda query, key: first(query, key) & second(query, key)


class Mask(NamedTuple):
    """A mask as the attention kernels want it.

    `allowed` (B or 1, T, S) is True where a query may look, None where it may look everywhere; `is_causal` says
    that `allowed` is the plain lower triangle, which fused kernels know without being shown it.
    `bias` (B or 1, H, T, S) is added to the scores, and `joined` is both in one.
    """

    allowed: Tensor | None
    is_causal: bool = False
    bias: Tensor | None = None
    joined: Tensor | None = None

    @property
    def for_kernel(self) -> Tensor | None:
        """What a fused kernel is shown."""
        if self.joined is not None or self.allowed is None or self.is_causal:
            return self.joined
        return self.allowed[:, None]

    def biased(self, bias: Tensor | None) -> "Mask":
        """The same mask with something to add to the scores, joined once for all layers that use it."""
        if bias is None:
            return self
        joined = bias if self.allowed is None else bias.masked_fill(~self.allowed[:, None], -torch.inf)
        return Mask(self.allowed, bias=bias, joined=joined)


def decoder_mask(query: TokenPositions, key: TokenPositions, *, window_size: int | None = None) -> Mask:
    """The mask of causal self-attention: `query` are the newest of `key`.

    Args:
        query: places of the T queries.
        key: places of the S keys; the last T are the queries themselves.
        window_size: the layer's window, if it has one.
    """
    length, source = query.position.shape[-1], key.position.shape[-1]
    # Positions that were given may leave gaps, so only plain ones tell from their number that all fit the window.
    if window_size is not None and source <= window_size and not key.padded:
        window_size = None
    plain = not key.padded and key.document is None and key.ancestors is None and window_size is None
    if plain and length == 1:
        return Mask(None)
    predicate: Predicate = causal
    if window_size is not None:
        predicate = both(predicate, window(window_size))
    if key.padded:
        predicate = both(predicate, not_padding)
    if key.document is not None:
        predicate = both(predicate, same_document)
    if key.ancestors is not None:
        predicate = both(predicate, among_ancestors)
    return Mask(predicate(query.unsqueeze(-1), key.unsqueeze(-2)), is_causal=plain and length == source)


def encoder_mask(query: TokenPositions, key: TokenPositions, *, window_size: int | None = None) -> Mask:
    """The mask where tokens see both ways: of an encoder's self-attention, and of cross-attention to its output.

    Args:
        query: places of the T queries.
        key: places of the S keys.
        window_size: the layer's window, if it has one.
    """
    predicates: list[Predicate] = [not_padding] if key.padded else []
    if window_size is not None:
        predicates.append(around(window_size))
    if not predicates:
        return Mask(None)
    return Mask(reduce(both, predicates)(query.unsqueeze(-1), key.unsqueeze(-2)))


def positions_of(real: Tensor) -> Tensor:
    """Positions for a padded batch: real (B, T) is True at tokens, False at padding → (B, T), padding negative."""
    return torch.where(real, real.cumsum(-1) - 1, -1)
