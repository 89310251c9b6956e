"""From token ids to vectors, and from vectors back to logits."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from openbook.trace import note
from openbook.transformer import architecture


class TokenEmbedding(nn.Module):
    """A trained vector for each token of the vocabulary, times `embedding_scale`."""

    def __init__(self, spec: architecture.Architecture) -> None:
        super().__init__()
        self.scale = spec.embedding_scale
        self.weight = nn.Parameter(torch.empty(spec.vocab_size, spec.width))

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens (B, T) → (B, T, D)."""
        x = F.embedding(tokens, self.weight)
        # Models trained in bfloat16 round the scale to it too.
        return note("output", x if self.scale == 1.0 else x * self.weight.new_tensor(self.scale))


class SourceEmbedding(nn.Module):
    """The same for the tokens of a source, with a table of its own or that of the token embedding."""

    def __init__(self, spec: architecture.Architecture) -> None:
        super().__init__()
        self.scale, rows = spec.embedding_scale, spec.source_vocab_size
        self.weight = None if rows is None else nn.Parameter(torch.empty(rows, spec.width))

    def forward(self, tokens: Tensor, embedding: Tensor) -> Tensor:
        """tokens (B, S), and the token embedding (V, D) for where this has no table → (B, S, D)."""
        x = F.embedding(tokens, embedding if self.weight is None else self.weight)
        return note("output", x if self.scale == 1.0 else x * self.scale)


class LMHead(nn.Module):
    """A score for every token of the vocabulary: x · weightᵀ, with the scale, bias and soft cap of the architecture."""

    def __init__(self, spec: architecture.Architecture) -> None:
        super().__init__()
        self.scale, self.cap = spec.logit_scale, spec.logit_softcap
        self.weight = None if spec.tied_embeddings else nn.Parameter(torch.empty(spec.vocab_size, spec.width))
        self.bias = nn.Parameter(torch.zeros(spec.vocab_size)) if spec.logit_bias else None

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """x (B, T, D), and the token embedding (V, D) for where the two are tied → logits (B, T, V)."""
        logits = F.linear(x, embedding if self.weight is None else self.weight)
        if self.scale != 1.0:
            logits = logits * self.scale
        if self.bias is not None:
            logits = logits + self.bias
        if self.cap is not None:
            logits = self.cap * torch.tanh(note("uncapped", logits) / self.cap)
        return note("logits", logits)
