"""The same model run by ONNX Runtime: each pass one call, without Python in between, on processors.

It opens in about half a minute and then decodes small models up to twice as fast as the reference engine, to the same
tokens but for ties: logits agree to about 1e-5.
"""

import logging
import os
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from openbook.errors import OpenbookError
from openbook.generation.cache import Cache
from openbook.generation.engines.onnx_graph import OPSET, First, Next, example
from openbook.generation.engines.torch_engine import CachedSession, EngineOf, as_batch
from openbook.generation.topk import GROUP, Continuations, Numbers, Sums
from openbook.transformer.mask import TokenPositions
from openbook.transformer.transformer import Transformer


class OnnxEngine(EngineOf):
    """A model opened with ONNX Runtime. Later changes to the model's weights are not seen.

    Raises:
        OpenbookError: what it needs is not installed, the weights are not float32 on a CPU, or the architecture has
            something that cannot be written as a graph.
    """

    def __init__(self, model: Transformer) -> None:
        super().__init__(model)
        kinds = {weight.dtype for weight in model.parameters()}
        if kinds != {torch.float32} or any(type(weight) is not nn.Parameter for weight in model.parameters()):
            raise OpenbookError("the engine onnx takes weights of float32: import the model with --dtype float32")
        if self.device.type != "cpu":
            raise OpenbookError("the engine onnx works on processors: give --device cpu")
        self._layers = len(model.architecture.decoder.blocks)
        was_training = model.training
        model.eval()
        try:
            self._first = _opened(First(model), *example(model, first=True), self.threads)
            self._next = _opened(Next(model), *example(model, first=False), self.threads)
        finally:
            model.train(was_training)

    @torch.inference_mode()
    def prefill(
        self, prompts: Sequence[Sequence[int]], sources: Sequence[Sequence[int]] | None = None
    ) -> tuple["OnnxSession", Tensor]:
        """As `Engine.prefill`."""
        self.check_sources(prompts, sources)
        read = [_placed(prompts)] if sources is None else [_placed(prompts), _placed(sources)]
        logits, *tensors = _run(self._first, [each for pair in read for each in pair])
        cache = Cache(self._layers)
        cache.append(TokenPositions(read[0][1], padded=True))
        if sources is not None:
            cache.put_source(TokenPositions(read[1][1]))
        of_layers = zip(tensors[::2], tensors[1::2], strict=True)
        for layer, (key, value) in zip((*cache.layers, *cache.cross_layers), of_layers, strict=False):
            layer.put(key, value)
        return OnnxSession(self._next, cache, self.vocab_size), logits


class OnnxSession(CachedSession):
    """A batch under way in an `OnnxEngine`."""

    def __init__(self, runtime: Any, cache: Cache, vocab_size: int) -> None:
        super().__init__(cache)
        self._graph, self._vocabulary = _Bound(runtime), vocab_size
        self._buffers: _Buffers | None = None

    @torch.inference_mode()
    def step(self, tokens: Tensor) -> Tensor:
        """As `Session.step`."""
        single = tokens.dim() == 1
        if single:
            tokens = tokens[:, None]
        sums = np.zeros(tokens.shape, dtype=np.float32)
        logits = self._pass(tokens.numpy(), sums, torch.empty(0, dtype=torch.long), 1).logits
        self._buffers = None  # they are the caller's now
        return logits[:, 0] if single else logits

    @torch.inference_mode()
    def likeliest(self, tokens: Numbers, sums: Sums, never: Tensor, count: int) -> Continuations:
        """As `Session.likeliest`: the graph has looked for them already."""
        if tokens.shape[1] * (self._vocabulary // GROUP) <= count:
            return super().likeliest(tokens, sums, never, count)
        buffers = self._pass(tokens, sums, never, count)
        return Continuations.of(buffers.found.copy(), buffers.found_at, self._vocabulary)

    def _pass(self, tokens: Numbers, sums: Sums, never: Tensor, count: int) -> "_Buffers":
        """Append tokens (B, W); their logits, and the `count` that best follow."""
        cache = self._cache
        cache.tidy()
        start = cache.length
        places = cache.open(len(tokens), tokens.shape[1])
        buffers = self._buffers
        kept = [buffer for layer in cache.layers for buffer in layer.opened(0)]
        if buffers is None or not buffers.fit(tokens, count, (places.position, places.ancestors, never, *kept)):
            buffers = self._buffers = self._bind(tokens, count, places, never, kept)
        buffers.tokens[:] = tokens
        buffers.sums[:] = sums
        buffers.start[:] = start
        self._graph.run()
        return buffers

    def _bind(
        self, tokens: Numbers, count: int, places: TokenPositions, never: Tensor, kept: list[Tensor]
    ) -> "_Buffers":
        """Tell the graph where all lies that it reads and writes."""
        cache, rows, shape = self._cache, len(tokens), tokens.shape
        newest, sums, start = np.empty_like(tokens), np.empty(shape, np.float32), np.empty(rows, np.int64)
        found, found_at = np.empty((rows, count), np.float32), np.empty((rows, count), np.int64)
        logits = torch.empty(*shape, self._vocabulary)
        ancestors = places.ancestors
        if ancestors is None:
            ancestors = torch.ones(*shape, places.position.shape[1], dtype=torch.bool)
        given: list[Tensor | NDArray[Any]] = [
            newest,
            places.position,
            ancestors,
            start,
            sums,
            never,
            torch.empty(count),
            *kept,
        ]
        if cache.source is not None:
            crossed = [buffer for layer in cache.cross_layers if layer.length for buffer in layer.opened(0)]
            given += [cache.source.positions.position.expand(rows, -1), *crossed]
        self._graph.bind(_tensors(given), _tensors([logits, found, found_at, places.position, *kept]))
        return _Buffers(newest, sums, start, logits, found, found_at, (places.position, places.ancestors, never, *kept))


def _tensors(values: Iterable[Tensor | NDArray[Any]]) -> list[Tensor]:
    """All as tensors; arrays lie where they did."""
    return [each if isinstance(each, Tensor) else torch.from_numpy(each) for each in values]


class _Buffers(NamedTuple):
    """What a pass reads and writes, and the tensors that it does so `beside`; good for the next if none has moved."""

    tokens: Numbers
    sums: Sums
    start: Numbers
    logits: Tensor
    found: Sums
    found_at: Numbers
    beside: tuple[Tensor | None, ...]

    def fit(self, tokens: Numbers, count: int, beside: Sequence[Tensor | None]) -> bool:
        """Whether they are for such a pass."""
        same = all(one is other for one, other in zip(self.beside, beside, strict=True))
        return same and self.tokens.shape == tokens.shape and self.found.shape[1] == count


def _placed(rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Token ids (B, T), padded on the left, and their positions (B, T)."""
    tokens, positions = as_batch(rows, torch.device("cpu"))
    return tokens, torch.arange(tokens.shape[1]).expand(tokens.shape) if positions is None else positions


def _run(runtime: Any, feeds: Sequence[Tensor]) -> list[Tensor]:
    """The outputs of a graph for its inputs in order; only what does not lie in one piece is copied."""
    named = {put.name: each.contiguous().numpy() for put, each in zip(runtime.get_inputs(), feeds, strict=True)}
    return [torch.from_numpy(each) for each in runtime.run(None, named)]


class _Bound:
    """A graph, and where its inputs and outputs lie. What lies where it lay before is not bound again."""

    def __init__(self, runtime: Any) -> None:
        self._runtime, self._binding = runtime, runtime.io_binding()
        self._puts = [(put.name, self._binding.bind_input) for put in runtime.get_inputs()]
        self._puts += [(put.name, self._binding.bind_output) for put in runtime.get_outputs()]
        self._lying: list[Tensor] | list[None] = [None] * len(self._puts)

    def bind(self, feeds: Sequence[Tensor], results: Sequence[Tensor]) -> None:
        """It runs on these inputs, in order, and writes its outputs into `results`; they may be inputs, too."""
        assert all(each.is_contiguous() for each in results), "outputs are written in one piece"
        lying = [*(each.contiguous() for each in feeds), *results]
        for (name, bind), each, old in zip(self._puts, lying, self._lying, strict=True):
            if old is None or old.data_ptr() != each.data_ptr() or old.shape != each.shape:
                bind(name, "cpu", 0, _KINDS[each.dtype], each.shape, each.data_ptr())
        self._lying = lying  # bound by address, so they have to live on

    def run(self) -> None:
        """Run it on what lies there now."""
        self._runtime.run_with_iobinding(self._binding)


_KINDS = {torch.float32: np.float32, torch.int64: np.int64, torch.bool: np.bool_}


def _opened(passes: nn.Module, arguments: tuple[object, ...], varying: tuple[object, ...], threads: int) -> Any:
    """The pass as ONNX Runtime takes it: written as a graph into a folder of its own, read, and deleted."""
    try:
        import onnx  # noqa: F401
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise OpenbookError("the engine onnx needs more packages: pip install 'openbook[onnx]'") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = max(1, torch.get_num_threads() // threads)
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pass.onnx"
        with _quietly():
            try:
                written = torch.onnx.export(
                    passes, arguments, dynamo=True, dynamic_shapes=varying, opset_version=OPSET, verbose=False
                )
                assert written is not None
                written.save(path, external_data=True)
            except Exception as error:  # whatever its many parts raise, it says what they do not know
                reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
                raise OpenbookError(
                    f"this architecture cannot be written as an ONNX graph ({reason}); use the engine torch"
                ) from error
        # A product that scales as well has no kernel for a single query, and takes more than twice as long.
        return onnxruntime.InferenceSession(
            os.fspath(path), options, providers=["CPUExecutionProvider"], disabled_optimizers=["MatMulScaleFusion"]
        )


@contextmanager
def _quietly() -> Iterator[None]:
    """Without what the exporter says of packages that nobody asked for."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
