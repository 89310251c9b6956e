"""The decoder-only transformer: embed, N blocks of causal self-attention and feed-forward, logits."""

from torch import Tensor

from openbook.trace import note
from openbook.transformer import architecture
from openbook.transformer.base import Transformer
from openbook.transformer.block import Stack
from openbook.transformer.embedding import LMHead, TokenEmbedding
from openbook.transformer.memory import Cache


class DecoderOnly(Transformer):
    """Predicts each next token from all tokens before it."""

    def __init__(self, spec: architecture.Architecture, dropout: float = 0.0) -> None:
        super().__init__()
        if spec.encoder is not None:
            raise ValueError("the architecture has an encoder: it is one of an encoder-decoder")
        self.architecture = spec
        self.token_embedding = TokenEmbedding(spec)
        self.decoder = Stack(spec.width, spec.context, spec.decoder, dropout)
        self.to_logits = LMHead(spec)

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
        return self._decode(tokens, positions, documents, cache, None)
