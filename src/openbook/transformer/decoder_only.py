"""The decoder-only transformer: embed, N blocks of causal self-attention and feed-forward, logits."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from openbook.trace import note
from openbook.transformer import architecture
from openbook.transformer.attention import KeyValueStore
from openbook.transformer.block import Stack
from openbook.transformer.embedding import TokenEmbedding, ToLogits
from openbook.transformer.mask import Places


class Cache(Protocol):
    """What the model asks of a cache of keys and values."""

    layers: Sequence[KeyValueStore]

    @property
    def length(self) -> int:
        """How many tokens it holds."""
        ...

    def place(self, query: Places, padded: bool) -> tuple[Places, bool]:
        """Add the newest tokens' places; give back the places of all keys, and whether any is padding."""
        ...


class DecoderOnly(nn.Module):
    """Predicts each next token from all tokens before it."""

    def __init__(self, spec: architecture.Architecture, dropout: float = 0.0) -> None:
        super().__init__()
        self.architecture = spec
        self.token_embedding = TokenEmbedding(spec)
        self.decoder = Stack(spec.width, spec.context, spec.decoder, dropout)
        self.to_logits = ToLogits(spec)

    def forward(
        self,
        tokens: Tensor,
        positions: Tensor | None = None,
        documents: Tensor | None = None,
        cache: Cache | None = None,
        last_only: bool = False,
    ) -> Tensor:
        """The logits of the token that follows each token.

        Args:
            tokens: ids (B, T).
            positions: (B, T), negative at padding (see `mask.positions_of`); None when neither the batch nor the
                cache has padding.
            documents: (B, T) numbers of the documents, which then do not see each other.
            cache: keys and values of the tokens before these; it is extended.
            last_only: logits of the last column alone, (B, 1, V); a batch for it is padded on the left.

        Returns:
            logits (B, T, V).
        """
        x = self.hidden(tokens, positions, documents, cache)
        return self.logits(note("last", x[:, -1:]) if last_only else x)

    def hidden(
        self,
        tokens: Tensor,
        positions: Tensor | None = None,
        documents: Tensor | None = None,
        cache: Cache | None = None,
    ) -> Tensor:
        """The vectors (B, T, D) that `logits` reads; arguments as in `forward`."""
        given = positions is not None
        if positions is None:
            start = 0 if cache is None else cache.length
            positions = torch.arange(start, start + tokens.shape[1], device=tokens.device)[None]
        if documents is not None:
            documents = note("documents", documents)
        query = key = Places(note("positions", positions), documents)
        padded = given
        if cache is not None:
            key, padded = cache.place(query, given)
            key = key._replace(position=note("key_positions", key.position))
        if padded and not given:
            raise ValueError("the cache holds padding, so its length is not the next position: give the positions")
        x = self.token_embedding(note("tokens", tokens))
        return self.decoder(x, query, key, padded, None if cache is None else cache.layers)

    def logits(self, x: Tensor) -> Tensor:
        """(B, T, D) → (B, T, V)."""
        return self.to_logits(x, self.token_embedding.weight)
