"""A block: attention, then feed-forward, each added to the residual stream; and a stack of blocks."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from openbook.trace import note, tracing
from openbook.transformer import architecture
from openbook.transformer.attention import Attention
from openbook.transformer.cache import AttentionCache, DecoderCache, EncoderOutput
from openbook.transformer.dropout import Dropout
from openbook.transformer.feed_forward import make_feed_forward
from openbook.transformer.mask import Mask, TokenPositions, decoder_mask, encoder_mask
from openbook.transformer.norm import make_norm
from openbook.transformer.position import NO_POSITION, Angles, NoPosition, make_position


class Residual(nn.Module):
    """x = outer(x + after(sublayer(before(x)))): pre-norm, post-norm and sandwich norms by which parts are there."""

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


class Cross(NamedTuple):
    """What cross-attention looks at: the source (B, S, D), or a cache that holds its keys and values."""

    source: Tensor | None
    mask: Mask
    cache: AttentionCache | None


class Block(nn.Module):
    """One layer: tokens look at each other, then perhaps at a source, then each is worked on alone."""

    def __init__(self, width: int, spec: architecture.Block, dropout: float) -> None:
        super().__init__()
        self.self_attention = Attention(width, spec.attention)
        self.self_attention_residual = Residual(width, spec, dropout)
        if spec.cross_attention is not None:
            self.cross_attention = Attention(width, spec.cross_attention)
            self.cross_attention_residual = Residual(width, spec, dropout)
        self.feed_forward = make_feed_forward(width, spec.feed_forward)
        self.feed_forward_residual = Residual(width, spec, dropout)

    def forward(
        self,
        x: Tensor,
        mask: Mask,
        position: NoPosition,
        angles: Angles | None,
        cache: AttentionCache | None,
        cross: Cross | None = None,
    ) -> Tensor:
        """x (B, T, D) → (B, T, D)."""
        x = self.self_attention_residual(x, lambda x: self.self_attention(x, x, mask, position, angles, cache))
        if cross is not None:
            source, seen, kept = cross
            x = self.cross_attention_residual(
                x, lambda x: self.cross_attention(x, source, seen, NO_POSITION, None, kept)
            )
        return self.feed_forward_residual(x, self.feed_forward)


def _rotation(position: architecture.Position, head_width: int) -> tuple[architecture.Position, int]:
    """What tells one way of rotating from another; only rotary positions look at the head width."""
    return position, head_width if position.kind == "rotary" else 0


class Stack(nn.Module):
    """Positions, N blocks and a final norm: a decoder, whose tokens see what came before them, or an encoder.

    While learning with `recompute`, a block keeps only what enters it, and is worked out again for the gradient: less
    memory for a third more time (Chen et al. 2016).
    """

    def __init__(
        self, width: int, context: int, spec: architecture.Stack, dropout: float, *, causal: bool = True
    ) -> None:
        super().__init__()
        self.causal = causal
        self.gradient_checkpointing = False
        usual = next((block for block in spec.blocks if block.position is None), spec.blocks[0]).attention
        self.position = make_position(spec.position, width, context, usual, causal)
        self.embedding_norm = make_norm(width, spec.embedding_norm)
        self.dropout = Dropout(dropout)
        self.blocks = nn.ModuleList(Block(width, block, dropout) for block in spec.blocks)
        self.final_norm = make_norm(width, spec.final_norm)
        # Layers that differ from the stack share one part for each way of differing: angles are worked out once.
        own = _rotation(spec.position, usual.head_width)
        ways = [_rotation(block.position or spec.position, block.attention.head_width) for block in spec.blocks]
        other = {way: block.attention for way, block in zip(ways, spec.blocks, strict=True) if way != own}
        self.other_positions = nn.ModuleList(
            make_position(position, width, context, attention) for (position, _), attention in other.items()
        )
        self._windows = [block.attention.window for block in spec.blocks]
        self._position_of = [list(other).index(way) if way in other else -1 for way in ways]

    def forward(
        self,
        x: Tensor,
        query: TokenPositions,
        key: TokenPositions,
        cache: DecoderCache | None = None,
        encoder_output: EncoderOutput | None = None,
    ) -> Tensor:
        """Embeddings x (B, T, D) at the places `query`, among keys at the places `key` → (B, T, D)."""
        x = note("embedded", self.position.embed(x, query.position))
        x = self.dropout(self.embedding_norm(x))
        parts = [*self.other_positions, self.position]
        angles = [part(query.position) for part in parts]
        biases = [part.bias(query.position, key.position) for part in parts]
        make_mask = decoder_mask if self.causal else encoder_mask
        masks: dict[tuple[int | None, int], Mask] = {}
        cross_mask = None if encoder_output is None else encoder_mask(query, encoder_output.positions)
        for number, block in enumerate(self.blocks):
            window, which = way = self._windows[number], self._position_of[number]
            if way not in masks:
                masks[way] = make_mask(query, key, window_size=window).biased(biases[which])
            cross = None
            if encoder_output is not None and cross_mask is not None:
                cross = Cross(encoder_output.hidden, cross_mask, None if cache is None else cache.cross_layers[number])
            kept = None if cache is None else cache.layers[number]
            if self.gradient_checkpointing and torch.is_grad_enabled() and not tracing():
                x = checkpoint(block, x, masks[way], parts[which], angles[which], kept, cross, use_reentrant=False)
            else:
                x = block(x, masks[way], parts[which], angles[which], kept, cross)
        return self.final_norm(x)
