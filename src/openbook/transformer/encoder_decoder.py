"""The encoder-decoder transformer: an encoder reads the source, a decoder that looks at it writes the target."""

import torch
from torch import Tensor

from openbook.trace import note
from openbook.transformer import architecture
from openbook.transformer.base import Transformer
from openbook.transformer.block import Stack
from openbook.transformer.embedding import LMHead, SourceEmbedding, TokenEmbedding
from openbook.transformer.mask import TokenPositions
from openbook.transformer.memory import Cache, Memory


class EncoderDecoder(Transformer):
    """Predicts each next token of a target from the source and all tokens of the target before it."""

    def __init__(self, spec: architecture.Architecture, dropout: float = 0.0) -> None:
        super().__init__()
        if spec.encoder is None:
            raise ValueError("the architecture has no encoder: it is one of a decoder-only transformer")
        self.architecture = spec
        self.token_embedding = TokenEmbedding(spec)
        self.source_embedding = SourceEmbedding(spec)
        self.encoder = Stack(spec.width, spec.context, spec.encoder, dropout, causal=False)
        self.decoder = Stack(spec.width, spec.context, spec.decoder, dropout)
        self.to_logits = LMHead(spec)

    def forward(
        self,
        source: Tensor | None,
        target: Tensor,
        source_positions: Tensor | None = None,
        positions: Tensor | None = None,
        cache: Cache | None = None,
        last_only: bool = False,
    ) -> Tensor:
        """The logits of the token that follows each token of the target.

        Args:
            source: ids (B, S), each row with a token that is not padding; None when the cache holds a source already.
            target: ids (B, T).
            source_positions: (B, S), negative at padding (see `mask.positions_of`); None when there is none.
            positions: (B, T), alike for the target; None when neither the batch nor the cache has padding.
            cache: keys and values of the source and of the target's tokens before these; it is extended.
            last_only: logits of the last column alone, (B, 1, V); a batch for it is padded on the left.

        Returns:
            logits (B, T, V).
        """
        memory = None if source is None else self.encode(source, source_positions)
        x = self.hidden(target, memory, positions, cache)
        return self.logits(note("last", x[:, -1:]) if last_only else x)

    def encode(self, source: Tensor, source_positions: Tensor | None = None) -> Memory:
        """What the encoder makes of source tokens (B, S), for any number of passes of the decoder."""
        padded = source_positions is not None
        if source_positions is None:
            source_positions = torch.arange(source.shape[1], device=source.device)[None]
        places = TokenPositions(note("source_positions", source_positions))
        x = self.source_embedding(note("source", source), self.token_embedding.weight)
        return Memory(self.encoder(x, places, places, padded), places, padded)

    def hidden(
        self,
        target: Tensor,
        memory: Memory | None,
        positions: Tensor | None = None,
        cache: Cache | None = None,
    ) -> Tensor:
        """The vectors (B, T, D) that `logits` reads; arguments as in `forward`.

        A cache that holds a source already goes on with that one, whatever `memory` is.
        """
        if cache is not None:
            memory = cache.look_at(memory)
        if memory is None:
            raise ValueError("there is no source to look at: give one, or a cache that holds one")
        return self._decode(target, positions, None, cache, memory)
