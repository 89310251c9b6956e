"""A session's passes as functions of tensors alone: the cache comes in, and goes out longer.

They call the transformer itself, so the exported graph is not a second implementation of it.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from openbook.generation.engines.topk import best_continuations
from openbook.transformer.cache import EncoderOutput
from openbook.transformer.mask import TokenPositions
from openbook.transformer.transformer import Transformer

OPSET = 24
"""Version of the ONNX operators: the first that can write into a part of a buffer."""


class _LayerCache:
    """Keys and values of one attention as buffers; each row's new ones begin at column start (B,)."""

    def __init__(self, start: Tensor | None = None) -> None:
        self._tensors: tuple[Tensor, Tensor] | None = None
        self._start = start

    @property
    def is_filled(self) -> bool:
        return self._tensors is not None

    def append(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        if self._tensors is not None:
            assert self._start is not None
            key, value = (_scatter(old, new, self._start) for old, new in zip(self._tensors, (key, value), strict=True))
        self._tensors = key, value
        return self._tensors

    def get(self) -> tuple[Tensor, Tensor]:
        assert self._tensors is not None, "the cache is empty"
        return self._tensors

    def set(self, key: Tensor, value: Tensor) -> None:
        self._tensors = key, value


def _scatter(buffer: Tensor, new: Tensor, start: Tensor) -> Tensor:
    """The buffer (B, G, C, K) with new (B, G, W, K) from column start (B,) on; a runtime may write in place."""
    return torch.onnx.ops.symbolic(
        "TensorScatter", (buffer, new, start), {"axis": 2}, dtype=buffer.dtype, shape=buffer.shape, version=OPSET
    )


class _GraphCache:
    """A `DecoderCache` for one pass: `key` are the positions of all tokens, None where nothing came before."""

    length = 0

    def __init__(
        self,
        layers: int,
        start: Tensor | None = None,
        key: TokenPositions | None = None,
        source: EncoderOutput | None = None,
    ) -> None:
        self.layers = [_LayerCache(start) for _ in range(layers)]
        self.cross_layers = [_LayerCache() for _ in range(layers)]
        self._key, self.source = key, source

    def append(self, query: TokenPositions) -> TokenPositions:
        return query if self._key is None else self._key

    def keys_and_values(self) -> tuple[Tensor, ...]:
        """Those of every layer's self-attention."""
        return tuple(tensor for layer in self.layers for tensor in layer.get())

    def cross_keys_and_values(self) -> tuple[Tensor, ...]:
        """Those of every layer's cross-attention, if there is one."""
        return tuple(tensor for layer in self.cross_layers if layer.is_filled for tensor in layer.get())


class _Pass(nn.Module):
    def __init__(self, model: Transformer) -> None:
        super().__init__()
        self.model = model
        self.layers = len(model.architecture.decoder.blocks)


class PrefillPass(_Pass):
    """The pass over prompts and sources: logits (B, V) after each prompt, then all keys and values (B, G, S, K)."""

    def forward(
        self,
        tokens: Tensor,
        positions: Tensor,
        source: Tensor | None = None,
        source_positions: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """Tokens and positions are (B, T), the source and its positions (B, S); positions are negative at padding."""
        cache = _GraphCache(self.layers)
        logits = self.model(tokens, positions, None, cache, source, source_positions, last_only=True)
        return logits[:, 0], *cache.keys_and_values(), *cache.cross_keys_and_values()


class StepPass(_Pass):
    """A later pass over W new tokens a row.

    It returns logits (B, W, V), the best continuations (B, C) twice (Σ log p, indices), then the positions, keys and
    values with the new ones written in.
    """

    def forward(
        self,
        tokens: Tensor,
        columns: tuple[Tensor, Tensor, Tensor],
        ranking: tuple[Tensor, Tensor, Tensor],
        keys_and_values: Sequence[Tensor],
        source_positions: Tensor | None = None,
        cross_keys_and_values: Sequence[Tensor] = (),
    ) -> tuple[Tensor, ...]:
        """Run the transformer on the new tokens, and rank what follows.

        Args:
            tokens: (B, W).
            columns: the positions (B, C) of the tokens before, negative in columns that are not filled; `ancestors`
                (B, W, C) of all tokens, see `TokenPositions`; the column (B,) at which the new tokens begin.
            ranking: log_probs (B, W) and suppressed (N,) as in `best_continuations`, and a tensor with as many numbers
                as continuations are wanted.
            keys_and_values: buffers (B, G, C, K), two for each layer.
            source_positions: (B, S).
            cross_keys_and_values: (B, G, S, K), likewise.
        """
        key_positions, ancestors, start = columns
        log_probs, suppressed, wanted = ranking
        positions = key_positions.amax(1, keepdim=True) + 1
        newest = positions.expand(-1, tokens.shape[1])
        key_positions = _scatter(key_positions[:, None, :, None], newest[:, None, :, None], start)[:, 0, :, 0]
        source = None
        if source_positions is not None:
            source = EncoderOutput(None, TokenPositions(source_positions, padded=True))
        cache = _GraphCache(self.layers, start, TokenPositions(key_positions, None, ancestors, padded=True), source)
        for layers, tensors in ((cache.layers, keys_and_values), (cache.cross_layers, cross_keys_and_values)):
            for layer, key, value in zip(layers, tensors[::2], tensors[1::2], strict=False):
                layer.set(key, value)
        logits = self.model(tokens, positions, cache=cache)
        best = best_continuations(logits, log_probs, suppressed, wanted.shape[0])
        return logits, *best, key_positions, *cache.keys_and_values()


Example = tuple[tuple[object, ...], tuple[object, ...]]
"""Example arguments of a pass, and which of their dimensions vary, as `torch.export` takes them."""

_VARIES = torch.export.Dim.AUTO
_BOTH = {0: _VARIES, 1: _VARIES}

# All different, so that none is taken for another. There are fewer continuations than new tokens, so that the grouped
# top-k is exported.
_ROWS, _BEFORE, _NEW, _SOURCE, _WANTED, _SUPPRESSED = 3, 5, 7, 4, 6, 2


def prefill_example(model: Transformer) -> Example:
    """For `PrefillPass`."""
    arguments = (_ids(_BEFORE), _positions(_BEFORE))
    if model.architecture.encoder is None:
        return arguments, (_BOTH, _BOTH)
    return (*arguments, _ids(_SOURCE), _positions(_SOURCE)), (_BOTH, _BOTH, _BOTH, _BOTH)


def step_example(model: Transformer) -> Example:
    """For `StepPass`."""
    whole = _BEFORE + _NEW
    keys_and_values = _buffers(model, whole, cross=False)
    arguments: tuple[object, ...] = (
        _ids(_NEW),
        (_positions(whole), torch.ones(_ROWS, _NEW, whole, dtype=torch.bool), torch.full((_ROWS,), _BEFORE)),
        (torch.zeros(_ROWS, _NEW), torch.arange(_SUPPRESSED), torch.zeros(_WANTED)),
        keys_and_values,
    )
    shapes: tuple[object, ...] = (
        _BOTH,
        (_BOTH, {0: _VARIES, 1: _VARIES, 2: _VARIES}, {0: _VARIES}),
        (_BOTH, {0: _VARIES}, {0: _VARIES}),
        [{0: _VARIES, 2: _VARIES}] * len(keys_and_values),
    )
    if model.architecture.encoder is None:
        return arguments, shapes
    crossed = _buffers(model, _SOURCE, cross=True)
    return (
        (*arguments, _positions(_SOURCE), crossed),
        (*shapes, _BOTH, [{0: _VARIES, 2: _VARIES}] * len(crossed)),
    )


def _ids(length: int) -> Tensor:
    return torch.zeros(_ROWS, length, dtype=torch.long)


def _positions(length: int) -> Tensor:
    return torch.arange(length).expand(_ROWS, -1).contiguous()


def _buffers(model: Transformer, length: int, cross: bool) -> list[Tensor]:
    """Keys and values of each layer."""
    blocks = model.architecture.decoder.blocks
    specs = [block.cross_attention if cross else block.attention for block in blocks]
    return [
        torch.zeros(_ROWS, spec.key_value_heads, length, spec.head_width)
        for spec in specs
        if spec is not None
        for _ in ("key", "value")
    ]
