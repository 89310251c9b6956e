"""Attention masks: which query may attend to which key, composed of predicates over their positions.

A predicate takes the positions of queries and of keys, shaped so that they broadcast to (B, T, S), and is True where
the query may attend to the key. Training, cached decoding, beam search and explanations share these predicates.
"""

from collections.abc import Callable
from functools import reduce
from typing import NamedTuple

import torch
from torch import Tensor


class TokenPositions(NamedTuple):
    """Where tokens stand: positions (B or 1, T), negative at padding; documents alike, or None if there is only one.

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

SHARED_PREFIX = -2
"""The document number of a beginning that all documents of its row continue."""


def causal(query: TokenPositions, key: TokenPositions) -> Tensor:
    """A token attends to itself and to earlier tokens."""
    return key.position <= query.position


def window(size: int) -> Predicate:
    """A token attends to itself and to at most `size` − 1 tokens before it."""
    return lambda query, key: query.position - key.position < size


def bidirectional_window(size: int) -> Predicate:
    """A token attends to itself and to at most `size` − 1 tokens before it and after it."""
    return lambda query, key: (query.position - key.position).abs() < size


def not_padding(query: TokenPositions, key: TokenPositions) -> Tensor:
    """No token attends to padding, but padding attends to itself, so that no row of the softmax is empty."""
    return (key.position >= 0) | (key.position == query.position)


def same_document(query: TokenPositions, key: TokenPositions) -> Tensor:
    """A token attends to its own document, and to the beginning that all documents share."""
    assert query.document is not None and key.document is not None
    return (query.document == key.document) | (key.document == SHARED_PREFIX)


def is_ancestor(query: TokenPositions, key: TokenPositions) -> Tensor:
    """A token attends to the tokens that it continues."""
    assert key.ancestors is not None
    return key.ancestors


def both(first: Predicate, second: Predicate) -> Predicate:
    """True where both predicates are."""
    return lambda query, key: first(query, key) & second(query, key)


class Mask(NamedTuple):
    """Which keys each query may attend to, and what is added to the scores.

    `allowed` (B or 1, T, S) is True where a query may attend to a key; None allows everything. `is_causal` says that
    it is the plain lower triangle, which fused kernels need not read. `bias` (B or 1, H, T, S) is added to the scores;
    `additive` is the bias with −∞ where nothing is allowed, computed once for all layers.
    """

    allowed: Tensor | None = None
    is_causal: bool = False
    bias: Tensor | None = None
    additive: Tensor | None = None

    def with_bias(self, bias: Tensor | None) -> "Mask":
        """The same mask with this bias (B or 1, H, T, S)."""
        if bias is None:
            return self
        additive = bias if self.allowed is None else bias.masked_fill(~self.allowed[:, None], -torch.inf)
        return Mask(self.allowed, bias=bias, additive=additive)


EVERYTHING = Mask()


def make_mask(
    query: TokenPositions, key: TokenPositions, *, bidirectional: bool = False, window_size: int | None = None
) -> Mask:
    """The mask of attention from T queries to S keys.

    Args:
        query: positions of the queries.
        key: positions of the keys; unless `bidirectional`, the last T are the queries themselves.
        bidirectional: a query attends to keys before and after it, as in an encoder and in cross-attention.
        window_size: the layer's window, if it has one.
    """
    length, source = query.position.shape[-1], key.position.shape[-1]
    if window_size is not None and source <= window_size and not key.padded and not bidirectional:
        window_size = None  # everything fits into it, unless positions leave gaps
    within = bidirectional_window if bidirectional else window
    rules: list[tuple[Predicate, bool]] = [
        (causal, not bidirectional),
        (within(window_size or 0), window_size is not None),
        (not_padding, key.padded),
        (same_document, key.document is not None),
        (is_ancestor, key.ancestors is not None),
    ]
    predicates = [rule for rule, applies in rules if applies]
    only_causal = predicates == [causal]
    if not predicates or (only_causal and length == 1):
        return EVERYTHING
    allowed = reduce(both, predicates)(query.unsqueeze(-1), key.unsqueeze(-2))
    return Mask(allowed, is_causal=only_causal and length == source)


def positions_of(real: Tensor) -> Tensor:
    """Positions for a padded batch: real (B, T) is True at tokens, False at padding → (B, T), padding negative."""
    return torch.where(real, real.cumsum(-1) - 1, -1)
