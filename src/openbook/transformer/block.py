"""A block: attention, then feed-forward, each added to the residual stream; and a stack of blocks."""

from collections.abc import Callable

from torch import Tensor, nn

from openbook.trace import note
from openbook.transformer import architecture
from openbook.transformer.attention import Attention
from openbook.transformer.cache import AttentionCache, DecoderCache, EncoderOutput
from openbook.transformer.dropout import Dropout
from openbook.transformer.feed_forward import make_feed_forward
from openbook.transformer.fused import checkpointed
from openbook.transformer.mask import EVERYTHING, Mask, TokenPositions, make_mask
from openbook.transformer.norm import make_norm
from openbook.transformer.position import Angles, make_position


class Residual(nn.Module):
    """x = outer(x + after(sublayer(before(x)))): pre-norm, post-norm or sandwich norm, by which parts are present."""

    def __init__(self, width: int, spec: architecture.Block, dropout: float) -> None:
        super().__init__()
        self.before = make_norm(width, spec.before)
        self.after = make_norm(width, spec.after)
        self.outer = make_norm(width, spec.outer)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, sublayer: Callable[[Tensor], Tensor]) -> Tensor:
        """x (B, T, D) → (B, T, D)."""
        added = self.dropout(self.after(sublayer(self.before(x))))
        return self.outer(note("residual", x + added))


class Block(nn.Module):
    """One layer: self-attention, then cross-attention to a source if there is one, then feed-forward."""

    def __init__(self, width: int, spec: architecture.Block, dropout: float) -> None:
        super().__init__()
        self.self_attention = Attention(width, spec.attention)
        self.self_attention_residual = Residual(width, spec, dropout)
        self.crosses = spec.cross_attention is not None
        if spec.cross_attention is not None:
            self.cross_attention = Attention(width, spec.cross_attention)
            self.cross_attention_residual = Residual(width, spec, dropout)
        self.feed_forward = make_feed_forward(width, spec.feed_forward)
        self.feed_forward_residual = Residual(width, spec, dropout)

    def forward(
        self,
        x: Tensor,
        mask: Mask,
        angles: Angles | None = None,
        cache: AttentionCache | None = None,
        source: Tensor | None = None,
        cross_mask: Mask = EVERYTHING,
        cross_cache: AttentionCache | None = None,
    ) -> Tensor:
        """x (B, T, D), source (B, S, D), None once `cross_cache` holds its keys and values → (B, T, D)."""
        x = self.self_attention_residual(x, lambda x: self.self_attention(x, x, mask, cache, angles))
        if self.crosses:
            x = self.cross_attention_residual(x, lambda x: self.cross_attention(x, source, cross_mask, cross_cache))
        return self.feed_forward_residual(x, self.feed_forward)


class Stack(nn.Module):
    """N blocks between an embedding and a final norm: an encoder, or a decoder, whose attention is causal.

    With `gradient_checkpointing` the training step keeps only each block's inputs and computes the rest again: less
    memory for a third more time.
    """

    def __init__(self, width: int, context: int, spec: architecture.Stack, dropout: float, causal: bool = True) -> None:
        super().__init__()
        self.causal, self.gradient_checkpointing = causal, False
        # Layers whose position differs from the stack's share one part for each difference, and so the angles.
        keys = [_part_key(block.position or spec.position, block.attention) for block in spec.blocks]
        parts = {
            key: make_position(key[0], width, context, block.attention, causal)
            for key, block in zip(keys, spec.blocks, strict=True)
        }
        first = next((block for block in spec.blocks if block.position is None), spec.blocks[0])
        own = _part_key(spec.position, first.attention)
        self.position = parts.get(own) or make_position(spec.position, width, context, first.attention, causal)
        parts.pop(own, None)
        self.embedding_norm = make_norm(width, spec.embedding_norm)
        self.dropout = Dropout(dropout)
        self.blocks = nn.ModuleList(Block(width, block, dropout) for block in spec.blocks)
        self.final_norm = make_norm(width, spec.final_norm)
        self.other_positions = nn.ModuleList(parts.values())
        # Of each layer: its window, and the index of its position part.
        windows, order = [block.attention.window for block in spec.blocks], [*parts, own]
        self._layers = list(zip(windows, map(order.index, keys), strict=True))

    def forward(
        self,
        x: Tensor,
        query: TokenPositions,
        key: TokenPositions,
        cache: DecoderCache | None = None,
        encoder_output: EncoderOutput | None = None,
    ) -> Tensor:
        """Embeddings x (B, T, D) of tokens at `query`, which attend to those at `key` → (B, T, D)."""
        x = note("embedded", self.position.embed(x, query.position))
        x = self.dropout(self.embedding_norm(x))
        parts = [*self.other_positions, self.position]
        angles = [part(query.position) for part in parts]
        biases = [part.bias(query.position, key.position) for part in parts]
        masks = {
            (size, part): make_mask(query, key, bidirectional=not self.causal, window_size=size).with_bias(biases[part])
            for size, part in dict.fromkeys(self._layers)
        }
        source, cross_mask = None, EVERYTHING
        if encoder_output is not None:
            source, cross_mask = encoder_output.hidden, make_mask(query, encoder_output.positions, bidirectional=True)
        for number, (block, layer) in enumerate(zip(self.blocks, self._layers, strict=True)):
            own, cross = (None, None) if cache is None else (cache.layers[number], cache.cross_layers[number])
            inputs = x, masks[layer], angles[layer[1]], own, source, cross_mask, cross
            x = checkpointed(block, *inputs) if self.gradient_checkpointing else block(*inputs)
        return self.final_norm(x)


def _part_key(position: architecture.Position, attention: architecture.Attention) -> tuple[architecture.Position, int]:
    """Equal for layers that can share a position part; only rotary positions depend on the head width."""
    return position, attention.head_width if position.kind == "rotary" else 0
