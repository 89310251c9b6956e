"""Which words of the vocabulary a vector of the residual stream is closest to, and which it came closer to."""

from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.nn.functional import normalize

from openbook.transformer.transformer import Transformer

WORDS = 8


@dataclass(frozen=True)
class NearWord:
    """A token and the cosine of the angle between its own vector and the one looked at, from −1 to 1."""

    token: int
    cosine: float


@dataclass(frozen=True)
class NearerWord:
    """A token whose cosine grew from `before` to `after`."""

    token: int
    before: float
    after: float


@torch.no_grad()
def nearest_words(model: Transformer, vector: Tensor, *, source: bool = False) -> tuple[NearWord, ...]:
    """The tokens whose embeddings point most nearly where `vector` (D,) does; none where a number is not finite.

    Args:
        model: whose embeddings they are.
        vector: of the width of the model.
        source: whether the words are those of an encoder's source.
    """
    if not vector.isfinite().all():
        return ()
    best = _cosines(model, vector, source).topk(min(WORDS, model.architecture.vocab_size))
    return tuple(map(NearWord, best.indices.tolist(), best.values.tolist()))


@torch.no_grad()
def nearer_words(model: Transformer, before: Tensor, after: Tensor, *, source: bool = False) -> tuple[NearerWord, ...]:
    """The tokens to whose embeddings a vector (D,) came closest by changing from `before` to `after`."""
    if not (before.isfinite().all() and after.isfinite().all()):
        return ()
    one, other = _cosines(model, before, source), _cosines(model, after, source)
    gained = (other - one).topk(min(WORDS, len(one)))
    return tuple(NearerWord(at, one[at].item(), other[at].item()) for at in gained.indices.tolist())


def _cosines(model: Transformer, vector: Tensor, source: bool) -> Tensor:
    """Of the vector with each token's embedding, (V,)."""
    table = model.token_embedding.weight
    if source and model.source_embedding is not None and model.source_embedding.weight is not None:
        table = model.source_embedding.weight
    return table.float() @ normalize(vector.float(), dim=0) / _lengths(model, table)


_known: WeakKeyDictionary[Transformer, dict[int, tuple[int, Tensor]]] = WeakKeyDictionary()
"""Of each model, by the identity of an embedding table: the version of its numbers, and the length of each row."""


def _lengths(model: Transformer, table: Tensor) -> Tensor:
    """The length of each row of an embedding table, (V,); computed once."""
    of_model = _known.setdefault(model, {})
    version, lengths = of_model.get(id(table), (-1, table))
    if version != table._version:
        lengths = table.float().norm(dim=-1).clamp_min(1e-12)
        of_model[id(table)] = table._version, lengths
    return lengths
