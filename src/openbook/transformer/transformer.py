"""The transformer: a decoder that predicts the next token, with an encoder that reads a source where there is one."""

import torch
from torch import Tensor, nn

from openbook.trace import note
from openbook.transformer import architecture
from openbook.transformer.block import Stack
from openbook.transformer.cache import DecoderCache, EncoderOutput
from openbook.transformer.embedding import LMHead, SourceEmbedding, TokenEmbedding
from openbook.transformer.mask import TokenPositions


class Transformer(nn.Module):
    """Predicts each next token from all tokens before it and, in an encoder-decoder, from a source.

    Its matrices are left uninitialized: `training.initialize` fills them, or a model file does.
    """

    def __init__(self, spec: architecture.Architecture, dropout: float = 0.0) -> None:
        super().__init__()
        self.architecture = spec
        self.token_embedding = TokenEmbedding(spec)
        encoder = spec.encoder
        self.source_embedding = None if encoder is None else SourceEmbedding(spec)
        self.encoder = None if encoder is None else Stack(spec.width, spec.context, encoder, dropout, causal=False)
        self.decoder = Stack(spec.width, spec.context, spec.decoder, dropout)
        self.to_logits = LMHead(spec)

    def forward(
        self,
        tokens: Tensor,
        positions: Tensor | None = None,
        documents: Tensor | None = None,
        cache: DecoderCache | None = None,
        source: Tensor | None = None,
        source_positions: Tensor | None = None,
        last_only: bool = False,
    ) -> Tensor:
        """The logits of the token that follows each token.

        Args:
            tokens: ids (B, T); for an encoder-decoder those of the target.
            positions: (B, T), negative at padding (see `mask.positions_of`); None if neither the batch nor the cache
                has padding.
            documents: (B, T) document numbers; tokens do not attend across documents.
            cache: keys and values of the tokens before these, and of the source; it is extended.
            source: ids (B, S) for the encoder, at least one token in each row that is not padding; None for a
                decoder-only model, and as soon as the cache holds a source.
            source_positions: (B, S), as `positions`; None if the source has no padding.
            last_only: logits of the last column alone, (B, 1, V); such a batch is padded on the left.

        Returns:
            logits (B, T, V).
        """
        encoder_output = None if source is None else self.encode(source, source_positions)
        x = self.hidden(tokens, positions, documents, cache, encoder_output)
        return self.logits(note("last", x[:, -1:]) if last_only else x)

    def encode(self, source: Tensor, source_positions: Tensor | None = None) -> EncoderOutput:
        """The encoder's output for source tokens (B, S); it serves any number of passes of the decoder."""
        if self.encoder is None or self.source_embedding is None:
            raise ValueError("a decoder-only model reads no source")
        counted = _count_up(source, source_positions)
        positions = TokenPositions(note("source_positions", counted), padded=source_positions is not None)
        x = self.source_embedding(note("source", source), self.token_embedding.weight)
        return EncoderOutput(self.encoder(x, positions, positions), positions)

    def hidden(
        self,
        tokens: Tensor,
        positions: Tensor | None = None,
        documents: Tensor | None = None,
        cache: DecoderCache | None = None,
        encoder_output: EncoderOutput | None = None,
    ) -> Tensor:
        """The decoder's output (B, T, D), which `logits` reads; arguments as in `forward`.

        Raises:
            ValueError: an encoder-decoder has no source, or positions are missing though the cache holds padding.
        """
        if self.encoder is not None:
            # A cache that holds a source keeps to it.
            encoder_output = encoder_output if cache is None or cache.source is None else cache.source
            if encoder_output is None:
                raise ValueError("there is no source to attend to: give one, or a cache that holds one")
            if cache is not None:
                cache.source = encoder_output._replace(hidden=None)
        counted = _count_up(tokens, positions, start=0 if cache is None else cache.length)
        if documents is not None:
            documents = note("documents", documents)
        query = key = TokenPositions(note("positions", counted), documents, padded=positions is not None)
        if cache is not None:
            key = cache.append(query)
            key = key._replace(position=note("key_positions", key.position))
        if key.padded and not query.padded:
            raise ValueError("the cache holds padding, so its length is not the next position: give the positions")
        x = self.token_embedding(note("tokens", tokens))
        return self.decoder(x, query, key, cache, encoder_output)

    def logits(self, x: Tensor) -> Tensor:
        """(B, T, D) → (B, T, V)."""
        return self.to_logits(x, self.token_embedding.weight)


def _count_up(tokens: Tensor, positions: Tensor | None, start: int = 0) -> Tensor:
    """The positions of tokens (B, T), if they are given, else (1, T) from `start` on."""
    return torch.arange(start, start + tokens.shape[1], device=tokens.device)[None] if positions is None else positions
