"""A session's passes as functions of tensors alone: all that is remembered comes in, and goes out longer.

The transformer itself is called, so what is written down as a graph from here is no second account of it.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from openbook.generation.topk import likeliest
from openbook.transformer.cache import EncoderOutput
from openbook.transformer.mask import TokenPositions
from openbook.transformer.transformer import Transformer

OPSET = 24
"""Version of the operators: the first that can write into a part of a buffer."""


class _Layer:
    """Keys and values of one layer: buffers, and in which of their columns each row's (B,) new ones begin."""

    def __init__(self, start: Tensor | None = None) -> None:
        self._tensors: tuple[Tensor, Tensor] | None = None
        self._start = start

    def put(self, key: Tensor, value: Tensor) -> None:
        self._tensors = key, value

    @property
    def filled(self) -> bool:
        return self._tensors is not None

    def append(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        if self._tensors is not None:
            assert self._start is not None
            key, value = (_written(old, new, self._start) for old, new in zip(self._tensors, (key, value), strict=True))
        self._tensors = key, value
        return self._tensors

    def get(self) -> tuple[Tensor, Tensor]:
        assert self._tensors is not None, "nothing was kept yet"
        return self._tensors


def _written(buffer: Tensor, new: Tensor, start: Tensor) -> Tensor:
    """The buffer (B, G, C, K) with new (B, G, W, K) from column start (B,) on; in place, where a runtime can."""
    return torch.onnx.ops.symbolic(
        "TensorScatter", (buffer, new, start), {"axis": 2}, dtype=buffer.dtype, shape=buffer.shape, version=OPSET
    )


class _Given:
    """A cache for one pass (see `DecoderCache`): `key` are the places of all tokens, None where nothing came before."""

    length = 0

    def __init__(
        self,
        layers: int,
        start: Tensor | None = None,
        key: TokenPositions | None = None,
        source: EncoderOutput | None = None,
    ) -> None:
        self.layers = [_Layer(start) for _ in range(layers)]
        self.cross_layers = [_Layer() for _ in range(layers)]
        self._key, self.source = key, source

    def append(self, query: TokenPositions) -> TokenPositions:
        return query if self._key is None else self._key

    def all_kept(self) -> tuple[Tensor, ...]:
        """Keys and values of every layer's self-attention."""
        return tuple(tensor for layer in self.layers for tensor in layer.get())

    def all_crossed(self) -> tuple[Tensor, ...]:
        """Those of every layer's cross-attention, where there is one."""
        return tuple(tensor for layer in self.cross_layers if layer.filled for tensor in layer.get())


class _Pass(nn.Module):
    def __init__(self, model: Transformer) -> None:
        super().__init__()
        self.model = model
        self.layers = len(model.architecture.decoder.blocks)


class First(_Pass):
    """The pass over prompts and sources: logits (B, V) after each prompt, then all keys and values (B, G, S, K)."""

    def forward(
        self,
        tokens: Tensor,
        positions: Tensor,
        source: Tensor | None = None,
        source_positions: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """tokens and positions (B, T), source and its positions (B, S); positions are negative at padding."""
        cache = _Given(self.layers)
        logits = self.model(tokens, positions, None, cache, source, source_positions, last_only=True)
        return logits[:, 0], *cache.all_kept(), *cache.all_crossed()


class Next(_Pass):
    """A later pass over W new tokens a row.

    It gives logits (B, W, V), what best follows, and what holds the positions, keys and values, with the new ones
    written in.
    """

    def forward(
        self,
        tokens: Tensor,
        key_positions: Tensor,
        ancestors: Tensor,
        start: Tensor,
        sums: Tensor,
        never: Tensor,
        wanted: Tensor,
        kept: Sequence[Tensor],
        source_positions: Tensor | None = None,
        crossed: Sequence[Tensor] = (),
    ) -> tuple[Tensor, ...]:
        """tokens (B, W), and as in `TokenPositions` key_positions (B, C) of the tokens before and ancestors (B, W, C) of all.

        `kept` are keys and values (B, G, C, K), in which the new ones begin at column start (B,). What of them nobody
        has filled yet has negative positions. `sums` (B, W) and `never` (N,) are as for `likeliest`, and `wanted` has
        as many numbers as are to follow.
        """
        positions = key_positions.amax(1, keepdim=True) + 1
        newest = positions.expand(-1, tokens.shape[1])
        key_positions = _written(key_positions[:, None, :, None], newest[:, None, :, None], start)[:, 0, :, 0]
        source = None
        if source_positions is not None:
            source = EncoderOutput(None, TokenPositions(source_positions, padded=True))
        cache = _Given(self.layers, start, TokenPositions(key_positions, None, ancestors, padded=True), source)
        for layers, tensors in ((cache.layers, kept), (cache.cross_layers, crossed)):
            for layer, key, value in zip(layers, tensors[::2], tensors[1::2], strict=False):
                layer.put(key, value)
        logits = self.model(tokens, positions, cache=cache)
        return logits, *likeliest(logits, sums, never, wanted.shape[0]), key_positions, *cache.all_kept()


def example(model: Transformer, first: bool) -> tuple[tuple[object, ...], tuple[object, ...]]:
    """Arguments for `First` or `Next`, and which of their dimensions vary, as `torch.export` wants to be told."""
    # All apart, so that none is taken for another; fewer are wanted than new ones, so that they are from a tournament.
    rows, before, new, read, wanted, never = 3, 5, 7, 4, 6, 2
    varies = torch.export.Dim.AUTO
    both = {0: varies, 1: varies}
    blocks = model.architecture.decoder.blocks
    encoder = model.architecture.encoder is not None

    def ids(length: int) -> Tensor:
        return torch.zeros(rows, length, dtype=torch.long)

    def positions(length: int) -> Tensor:
        return torch.arange(length).expand(rows, -1).contiguous()

    def tensors(crossing: bool, length: int) -> list[Tensor]:
        specs = [block.cross_attention if crossing else block.attention for block in blocks]
        return [
            torch.zeros(rows, spec.key_value_heads, length, spec.head_width)
            for spec in specs
            if spec is not None
            for _ in range(2)
        ]

    if first:
        some = (ids(before), positions(before))
        if not encoder:
            return some, (both, both)
        return (*some, ids(read), positions(read)), (both, both, both, both)
    whole = before + new
    kept = tensors(False, whole)
    arguments: tuple[object, ...] = (
        ids(new),
        positions(whole),
        torch.ones(rows, new, whole, dtype=torch.bool),
        torch.full((rows,), before),
        torch.zeros(rows, new),
        torch.arange(never),
        torch.zeros(wanted),
        kept,
    )
    shapes: tuple[object, ...] = (
        both,
        both,
        {0: varies, 1: varies, 2: varies},
        {0: varies},
        both,
        {0: varies},
        {0: varies},
        [{0: varies, 2: varies}] * len(kept),
    )
    if not encoder:
        return arguments, shapes
    crossed = tensors(True, read)
    return (*arguments, positions(read), crossed), (*shapes, both, [{0: varies, 2: varies}] * len(crossed))
