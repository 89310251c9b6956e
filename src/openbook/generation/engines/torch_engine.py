"""The reference engine: the PyTorch model itself, on whatever device it is."""

from collections.abc import Sequence

import torch
from torch import Tensor

from openbook.generation.arrays import FloatArray, IntArray
from openbook.generation.cache.kv_cache import KVCache
from openbook.generation.engines.base import CachedSession, ModelEngine, as_array, as_batch, restored
from openbook.generation.engines.engine import CacheBlock, Continuations
from openbook.generation.engines.onednn_linear import with_onednn_linear
from openbook.generation.engines.topk import best_continuations
from openbook.transformer.transformer import Transformer


class TorchEngine(ModelEngine):
    """The model as an engine. It shares the model's weights, so it sees later changes to them."""

    def __init__(self, model: Transformer) -> None:
        super().__init__(model)
        self._model = with_onednn_linear(model)

    @torch.inference_mode()
    def prefill(
        self, prompts: Sequence[Sequence[int]], sources: Sequence[Sequence[int]] | None = None
    ) -> tuple["TorchSession", FloatArray]:
        """As `Engine.prefill`."""
        self.check_sources(prompts, sources)
        model, cache = self._model, KVCache(len(self._model.architecture.decoder.blocks))
        tokens, positions = as_batch(prompts, self.device)
        encoder_output = None if sources is None else model.encode(*as_batch(sources, self.device))
        x = model.hidden(tokens, positions, cache=cache, encoder_output=encoder_output)
        return TorchSession(model, cache, self.device), as_array(model.logits(x[:, -1:])[:, 0])

    @torch.inference_mode()
    def restore(self, blocks: Sequence[CacheBlock]) -> "TorchSession":
        """As `Engine.restore`."""
        cache = restored(blocks, len(self._model.architecture.decoder.blocks))
        return TorchSession(self._model, cache, self.device)


class TorchSession(CachedSession):
    """A batch being decoded by a `TorchEngine`."""

    def __init__(self, model: Transformer, cache: KVCache, device: torch.device) -> None:
        super().__init__(cache, device)
        self._model = model

    @torch.inference_mode()
    def step(self, tokens: IntArray) -> FloatArray:
        """As `Session.step`."""
        ids, positions = self._next(tokens)
        return as_array(self._model.logits(self._model.hidden(ids, positions, cache=self._cache)))

    @torch.inference_mode()
    def extend(self, tokens: Sequence[Sequence[int]], *, every: bool = False) -> FloatArray:
        """As `Session.extend`."""
        self._check_unbranched()
        ids, counted = as_batch(tokens, self._device)
        positions = None
        if counted is not None or self._cache.padded:
            counted = torch.arange(ids.shape[1], device=self._device).expand(ids.shape) if counted is None else counted
            positions = torch.where(counted >= 0, counted + self._cache.next_position, -1)
        x = self._model.hidden(ids, positions, cache=self._cache)
        if not every:
            return as_array(self._model.logits(x[:, -1:])[:, 0])
        logits = self._model.logits(x)
        return as_array(logits.flatten(0, 1) if counted is None else logits[counted >= 0])

    @torch.inference_mode()
    def step_topk(self, tokens: IntArray, log_probs: FloatArray, suppressed: IntArray, count: int) -> Continuations:
        """As `Session.step_topk`."""
        ids, positions = self._next(tokens)
        logits = self._model.logits(self._model.hidden(ids, positions, cache=self._cache)).float()
        sums, never = torch.from_numpy(log_probs).to(self._device), torch.from_numpy(suppressed).to(self._device)
        best, indices = best_continuations(logits, sums, never, count)
        return Continuations.from_flat(best.cpu().numpy(), indices.cpu().numpy(), logits.shape[-1])

    def _next(self, tokens: IntArray) -> tuple[Tensor, Tensor | None]:
        """The newest tokens (B, W) for the model, and their positions unless these follow from the cache's length."""
        self._cache.prune()
        ids = torch.from_numpy(tokens).to(self._device)
        positions = self._cache.next_position.expand(ids.shape) if ids.shape[1] > 1 or self._cache.padded else None
        return ids, positions
