"""The model run by ONNX Runtime on CPUs: each pass is one call, without Python in between.

It opens in about half a minute and then decodes small models up to twice as fast as the reference engine. Tokens are
the same except for ties: logits agree to about 1e-5.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from openbook.errors import SettingError
from openbook.generation.arrays import FloatArray, IntArray
from openbook.generation.cache.kv_cache import KVCache
from openbook.generation.engines.base import CachedSession, ModelEngine, as_array, as_batch, restored
from openbook.generation.engines.engine import CacheBlock, Continuations
from openbook.generation.engines.onnx_graph import PrefillPass, StepPass, prefill_example, step_example
from openbook.generation.engines.onnx_runtime import BoundGraph, open_graph, run_graph
from openbook.generation.engines.topk import GROUP, best_continuations
from openbook.transformer.mask import TokenPositions
from openbook.transformer.transformer import Transformer

CPU = torch.device("cpu")
NONE_SUPPRESSED = np.empty(0, dtype=np.int64)


class OnnxEngine(ModelEngine):
    """A model opened with ONNX Runtime. It does not see later changes to the model's weights.

    Raises:
        OpenbookError: its packages are not installed, the weights are not float32 on a CPU, or the architecture cannot
            be exported.
    """

    def __init__(self, model: Transformer) -> None:
        super().__init__(model)
        dtypes = {weight.dtype for weight in model.parameters()}
        if dtypes != {torch.float32} or any(type(weight) is not nn.Parameter for weight in model.parameters()):
            raise SettingError("the engine onnx takes weights of float32: import the model with `dtype`=float32")
        if self.device.type != "cpu":
            raise SettingError("the engine onnx works on processors: give `device`=cpu")
        self._layers = len(model.architecture.decoder.blocks)
        was_training = model.training
        model.eval()
        try:
            self._prefill = open_graph(PrefillPass(model), prefill_example(model), self.threads)
            self._step = open_graph(StepPass(model), step_example(model), self.threads)
        finally:
            model.train(was_training)

    @torch.inference_mode()
    def prefill(
        self, prompts: Sequence[Sequence[int]], sources: Sequence[Sequence[int]] | None = None
    ) -> tuple["OnnxSession", FloatArray]:
        """As `Engine.prefill`."""
        self.check_sources(prompts, sources)
        read = [_with_positions(prompts)] if sources is None else [_with_positions(prompts), _with_positions(sources)]
        logits, *tensors = run_graph(self._prefill, [each for pair in read for each in pair])
        cache = KVCache(self._layers)
        cache.append(TokenPositions(read[0][1], padded=True))
        if sources is not None:
            cache.set_source(TokenPositions(read[1][1]))
        of_layers = zip(tensors[::2], tensors[1::2], strict=True)
        for layer, (key, value) in zip((*cache.layers, *cache.cross_layers), of_layers, strict=False):
            layer.set(key, value)
        return OnnxSession(self._step, cache, self.vocab_size), as_array(logits)

    @torch.inference_mode()
    def restore(self, blocks: Sequence[CacheBlock]) -> "OnnxSession":
        """As `Engine.restore`."""
        return OnnxSession(self._step, restored(blocks, self._layers), self.vocab_size)


class OnnxSession(CachedSession):
    """A batch being decoded by an `OnnxEngine`."""

    def __init__(self, runtime: Any, cache: KVCache, vocab_size: int) -> None:
        super().__init__(cache, CPU)
        self._graph, self._vocab_size = BoundGraph(runtime), vocab_size
        self._buffers: _Buffers | None = None

    @torch.inference_mode()
    def step(self, tokens: IntArray) -> FloatArray:
        """As `Session.step`."""
        logits = self._run(tokens, np.zeros(tokens.shape, dtype=np.float32), NONE_SUPPRESSED, 1).logits
        self._buffers = None  # they are the caller's now
        return as_array(logits)

    @torch.inference_mode()
    def step_topk(self, tokens: IntArray, log_probs: FloatArray, suppressed: IntArray, count: int) -> Continuations:
        """As `Session.step_topk`: the graph ranks continuations itself, unless its groups are too few."""
        if tokens.shape[1] * (self._vocab_size // GROUP) <= count:
            logits, sums = torch.from_numpy(self.step(tokens)), torch.from_numpy(log_probs)
            never = torch.from_numpy(suppressed)
            best, indices = best_continuations(logits, sums, never, count)
            return Continuations.from_flat(best.numpy(), indices.numpy(), self._vocab_size)
        buffers = self._run(tokens, log_probs, suppressed, count)
        return Continuations.from_flat(buffers.best.copy(), buffers.indices, self._vocab_size)

    def _run(self, tokens: IntArray, log_probs: FloatArray, suppressed: IntArray, count: int) -> "_Buffers":
        """Append tokens (B, W); their logits, and the `count` best continuations."""
        cache = self._cache
        cache.prune()
        start = cache.length
        positions = cache.reserve(len(tokens), tokens.shape[1])
        keys_and_values = [buffer for layer in cache.layers for buffer in layer.reserve(0)]
        bound = (positions.position, positions.ancestors, suppressed, *keys_and_values)
        buffers = self._buffers
        if buffers is None or not buffers.fit(tokens, count, bound):
            buffers = self._buffers = self._bind(tokens, count, positions, suppressed, keys_and_values)
        buffers.tokens[:] = tokens
        buffers.log_probs[:] = log_probs
        buffers.start[:] = start
        self._graph.run()
        return buffers

    def _bind(
        self,
        tokens: IntArray,
        count: int,
        positions: TokenPositions,
        suppressed: IntArray,
        keys_and_values: list[Tensor],
    ) -> "_Buffers":
        """Allocate what the graph reads and writes, and bind it."""
        cache, rows, shape = self._cache, len(tokens), tokens.shape
        newest, log_probs, start = np.empty_like(tokens), np.empty(shape, np.float32), np.empty(rows, np.int64)
        best, indices = np.empty((rows, count), np.float32), np.empty((rows, count), np.int64)
        logits = torch.empty(*shape, self._vocab_size)
        ancestors = positions.ancestors
        if ancestors is None:
            ancestors = torch.ones(*shape, positions.position.shape[1], dtype=torch.bool)
        columns: list[Tensor | NDArray[Any]] = [positions.position, ancestors, start]
        ranking: list[Tensor | NDArray[Any]] = [log_probs, suppressed, torch.empty(count)]
        inputs: list[Tensor | NDArray[Any]] = [newest, *columns, *ranking, *keys_and_values]
        if cache.source is not None:
            crossed = [buffer for layer in cache.cross_layers if layer.length for buffer in layer.reserve(0)]
            inputs += [cache.source.positions.position.expand(rows, -1), *crossed]
        outputs: list[Tensor | NDArray[Any]] = [logits, best, indices, positions.position, *keys_and_values]
        self._graph.bind(_as_tensors(inputs), _as_tensors(outputs))
        bound = (positions.position, positions.ancestors, suppressed, *keys_and_values)
        return _Buffers(newest, log_probs, start, logits, best, indices, bound)


def _as_tensors(values: Iterable[Tensor | NDArray[Any]]) -> list[Tensor]:
    """All as tensors, without copies."""
    return [each if isinstance(each, Tensor) else torch.from_numpy(each) for each in values]


class _Buffers(NamedTuple):
    """What a pass reads and writes; good for the next pass unless something `bound` beside them has moved."""

    tokens: IntArray
    log_probs: FloatArray
    start: IntArray
    logits: Tensor
    best: FloatArray
    indices: IntArray
    bound: tuple[Tensor | IntArray | None, ...]

    def fit(self, tokens: IntArray, count: int, bound: Sequence[Tensor | IntArray | None]) -> bool:
        """Whether they are for such a pass."""
        same = all(one is other for one, other in zip(self.bound, bound, strict=True))
        return same and self.tokens.shape == tokens.shape and self.best.shape[1] == count


def _with_positions(rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Token ids (B, T), padded on the left, and their positions (B, T)."""
    tokens, positions = as_batch(rows, CPU)
    return tokens, torch.arange(tokens.shape[1]).expand(tokens.shape) if positions is None else positions
