"""A block: attention, then feed-forward, each added to the residual stream; and a stack of blocks."""

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from openbook.trace import note
from openbook.transformer import architecture
from openbook.transformer.attention import Attention, KeyValueStore
from openbook.transformer.feed_forward import make_feed_forward
from openbook.transformer.mask import Mask, Places, decoder_mask
from openbook.transformer.norm import make_norm
from openbook.transformer.position import Angles, NoPosition, make_position


class Residual(nn.Module):
    """x = outer(x + after(sublayer(before(x)))): pre-norm, post-norm and sandwich norms by which parts are there."""

    def __init__(self, width: int, spec: architecture.Block, dropout: float) -> None:
        super().__init__()
        self.before = make_norm(width, spec.before)
        self.after = make_norm(width, spec.after)
        self.outer = make_norm(width, spec.outer)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, sublayer: Callable[[Tensor], Tensor]) -> Tensor:
        """x (B, T, D) → (B, T, D)."""
        added = self.dropout(self.after(sublayer(self.before(x))))
        return self.outer(note("residual", x + added))


class Block(nn.Module):
    """One layer: tokens look at each other, then each is worked on alone."""

    def __init__(self, width: int, spec: architecture.Block, dropout: float) -> None:
        super().__init__()
        self.self_attention = Attention(width, spec.attention, dropout)
        self.self_attention_residual = Residual(width, spec, dropout)
        self.feed_forward = make_feed_forward(width, spec.feed_forward)
        self.feed_forward_residual = Residual(width, spec, dropout)

    def forward(
        self, x: Tensor, mask: Mask, position: NoPosition, angles: Angles | None, cache: KeyValueStore | None
    ) -> Tensor:
        """x (B, T, D) → (B, T, D)."""
        x = self.self_attention_residual(x, lambda x: self.self_attention(x, mask, position, angles, cache))
        return self.feed_forward_residual(x, self.feed_forward)


class Stack(nn.Module):
    """Positions, N blocks and a final norm."""

    def __init__(self, width: int, context: int, spec: architecture.Stack, dropout: float) -> None:
        super().__init__()
        head_width = spec.blocks[0].attention.head_width
        self.position = make_position(spec.position, width, context, head_width)
        self.embedding_norm = make_norm(width, spec.embedding_norm)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(Block(width, block, dropout) for block in spec.blocks)
        self.final_norm = make_norm(width, spec.final_norm)
        # Layers that differ from the stack share one part for each way of differing: angles are worked out once.
        other = dict.fromkeys(block.position for block in spec.blocks if block.position is not None)
        self.other_positions = nn.ModuleList(make_position(each, width, context, head_width) for each in other)
        order = list(other)
        self._windows = [block.attention.window for block in spec.blocks]
        self._position_of = [-1 if b.position is None else order.index(b.position) for b in spec.blocks]

    def forward(
        self, x: Tensor, query: Places, key: Places, padded: bool, caches: Sequence[KeyValueStore] | None
    ) -> Tensor:
        """Embeddings x (B, T, D) at the places `query`, among keys at the places `key` → (B, T, D)."""
        x = note("embedded", self.position.embed(x, query.position))
        x = self.dropout(self.embedding_norm(x))
        parts = [*self.other_positions, self.position]
        angles = [part(query.position) for part in parts]
        masks: dict[int | None, Mask] = {}
        for number, block in enumerate(self.blocks):
            window, which = self._windows[number], self._position_of[number]
            if window not in masks:
                masks[window] = decoder_mask(query, key, padded=padded, window_size=window)
            cache = None if caches is None else caches[number]
            x = block(x, masks[window], parts[which], angles[which], cache)
        return self.final_norm(x)
