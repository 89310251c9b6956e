"""What the two kinds of transformer share: a token embedding, a decoder, logits."""

import torch
from torch import Tensor, nn

from openbook.trace import note
from openbook.transformer import architecture
from openbook.transformer.block import Stack
from openbook.transformer.embedding import LMHead, TokenEmbedding
from openbook.transformer.mask import TokenPositions
from openbook.transformer.memory import Cache, Memory


class Transformer(nn.Module):
    """Predicts each next token from all tokens before it, and from a source where there is an encoder."""

    architecture: architecture.Architecture
    token_embedding: TokenEmbedding
    decoder: Stack
    to_logits: LMHead

    def logits(self, x: Tensor) -> Tensor:
        """(B, T, D) → (B, T, V)."""
        return self.to_logits(x, self.token_embedding.weight)

    def _decode(
        self,
        tokens: Tensor,
        positions: Tensor | None,
        documents: Tensor | None,
        cache: Cache | None,
        memory: Memory | None,
    ) -> Tensor:
        """The decoder's vectors (B, T, D); arguments as in the kinds' `hidden`."""
        given = positions is not None
        if positions is None:
            start = 0 if cache is None else cache.length
            positions = torch.arange(start, start + tokens.shape[1], device=tokens.device)[None]
        if documents is not None:
            documents = note("documents", documents)
        query = key = TokenPositions(note("positions", positions), documents)
        padded = given
        if cache is not None:
            key, padded = cache.place(query, given)
            key = key._replace(position=note("key_positions", key.position))
        if padded and not given:
            raise ValueError("the cache holds padding, so its length is not the next position: give the positions")
        x = self.token_embedding(note("tokens", tokens))
        return self.decoder(x, query, key, padded, cache, memory)
