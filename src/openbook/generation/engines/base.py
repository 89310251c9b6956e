"""What engines of a `Transformer` share: what they say about the model, and sessions that keep a `KVCache`."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Self

import numpy as np
import torch
from torch import Tensor

from openbook.generation.arrays import FloatArray, IntArray
from openbook.generation.cache.kv_cache import KVBlock, KVCache
from openbook.generation.engines.engine import CacheBlock, check_sources
from openbook.generation.engines.malloc import keep_freed_memory
from openbook.transformer.mask import positions_of
from openbook.transformer.transformer import Transformer

SMALL_MODEL = 50_000_000
"""Parameters of a model below which a core for each batch is faster than all cores for one."""


class ModelEngine:
    """What an engine says about its model; see `Engine`.

    The math library's products depend on the shapes of the whole batch, so no bits are promised.
    """

    is_batch_invariant = False
    is_split_invariant = False

    def __init__(self, model: Transformer) -> None:
        self.device = next(model.parameters()).device
        if self.device.type == "cpu":
            keep_freed_memory()
        architecture = model.architecture
        self.vocab_size, self.context = architecture.vocab_size, architecture.context
        self._cores = torch.get_num_threads()
        self.threads = torch.get_num_threads() if self.device.type == "cpu" and _is_small(model) else 1
        self.source_vocab_size = None
        if architecture.encoder is not None:
            self.source_vocab_size = architecture.source_vocab_size or architecture.vocab_size

    def set_cores(self, cores: int | None) -> None:
        """As `Engine.set_cores`. The math library has one setting for all threads."""
        torch.set_num_threads(cores or self._cores)

    def check_sources(self, prompts: Sequence[Sequence[int]], sources: Sequence[Sequence[int]] | None) -> None:
        """As `Engine.check_sources`."""
        check_sources(self.source_vocab_size, prompts, sources)


def as_array(logits: Tensor) -> FloatArray:
    """Logits as the interface of engines has them: float32, in the processor's memory."""
    return logits.float().cpu().numpy()


def _is_small(model: Transformer) -> bool:
    """Whether products are so small that cores which share them wait for each other more than they work."""
    return sum(weight.numel() for weight in model.parameters()) < SMALL_MODEL


def as_batch(rows: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor | None]:
    """Token ids (B, T), shorter rows padded on the left, and their positions if there is padding."""
    longest = max(map(len, rows))
    tokens = torch.tensor([[0] * (longest - len(ids)) + list(ids) for ids in rows], device=device)
    if min(map(len, rows)) == longest:
        return tokens, None
    missing = torch.tensor([longest - len(ids) for ids in rows], device=device)
    return tokens, positions_of(torch.arange(longest, device=device) >= missing[:, None])


def restored(blocks: Sequence[CacheBlock], layers: int) -> KVCache:
    """The cache of one row that has read the tokens of these blocks."""
    cache = KVCache(layers)
    kept = [block for block in blocks if isinstance(block, KVBlock)]
    assert len(kept) == len(blocks), "blocks of another engine"
    cache.restore(kept)
    return cache


class CachedSession(ABC):
    """The part of a `Session` that only moves what its cache holds."""

    def __init__(self, cache: KVCache, device: torch.device) -> None:
        self._cache, self._device = cache, device

    @property
    def length(self) -> int:
        """As `Session.length`."""
        return self._cache.length

    def _check_unbranched(self) -> None:
        if self._cache.branched:
            raise ValueError("the session has branched")

    @torch.inference_mode()
    def save(self, row: int, start: int, stop: int) -> CacheBlock:
        """As `Session.save`."""
        return self._cache.save(row, start, stop)

    @abstractmethod
    def step(self, tokens: IntArray) -> FloatArray:
        """As `Session.step`."""

    def extend(self, tokens: Sequence[Sequence[int]], *, every: bool = False) -> FloatArray:
        """As `Session.extend`, a token at a time, for what takes no more. All rows get as many."""
        self._check_unbranched()
        logits = [self.step(column[:, None])[:, 0] for column in np.array(tokens, dtype=np.int64).T]
        return np.concatenate(np.stack(logits, axis=1)) if every else logits[-1]

    @torch.inference_mode()
    def branch(self, parents: IntArray) -> None:
        """As `Session.branch`."""
        self._cache.branch(torch.from_numpy(parents).to(self._device))

    @torch.inference_mode()
    def reorder(self, rows: Sequence[int]) -> None:
        """As `Session.reorder`."""
        self._cache.reorder(rows)

    @torch.inference_mode()
    def join(self, others: Sequence[Self]) -> None:
        """As `Session.join`."""
        self._cache.join([other._cache for other in others])

    @torch.inference_mode()
    def truncate(self, length: int) -> None:
        """As `Session.truncate`."""
        self._cache.truncate(length)
