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
def cosines(model: Transformer, vectors: Tensor, *, source: bool = False) -> Tensor:
    """Of each vector (n, D) with each token's embedding, (n, V).

    Args:
        model: whose embeddings they are.
        vectors: of the width of the model.
        source: whether the words are those of an encoder's source.
    """
    table = model.token_embedding.weight
    if source and model.source_embedding is not None and model.source_embedding.weight is not None:
        table = model.source_embedding.weight
    return (table.float() @ normalize(vectors.float(), dim=-1).T).T / _lengths(model, table)


def nearest_words(cosines: Tensor) -> tuple[NearWord, ...]:
    """The tokens whose embeddings point most nearly where a vector does, by its cosines (V,); none if not finite."""
    if not cosines.isfinite().all():
        return ()
    best = cosines.topk(min(WORDS, len(cosines)))
    return tuple(map(NearWord, best.indices.tolist(), best.values.tolist()))


def nearer_words(before: Tensor, after: Tensor) -> tuple[NearerWord, ...]:
    """The tokens to whose embeddings a vector came closest, by its cosines (V,) before and after."""
    if not (before.isfinite().all() and after.isfinite().all()):
        return ()
    gained = (after - before).topk(min(WORDS, len(after)))
    return tuple(NearerWord(at, before[at].item(), after[at].item()) for at in gained.indices.tolist())


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
