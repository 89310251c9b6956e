"""A block: attention, then feed-forward, each added to the residual stream; and a stack of blocks."""

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from openbook.trace import note
from openbook.transformer import architecture
from openbook.transformer.attention import Attention, KeyValueStore
from openbook.transformer.dropout import Dropout
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
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, sublayer: Callable[[Tensor], Tensor]) -> Tensor:
        """x (B, T, D) → (B, T, D)."""
        added = self.dropout(self.after(sublayer(self.before(x))))
        return self.outer(note("residual", x + added))


class Block(nn.Module):
    """One layer: tokens look at each other, then each is worked on alone."""

    def __init__(self, width: int, spec: architecture.Block, dropout: float) -> None:
        super().__init__()
        self.self_attention = Attention(width, spec.attention)
        self.self_attention_residual = Residual(width, spec, dropout)
        self.feed_forward = make_feed_forward(width, spec.feed_forward)
        self.feed_forward_residual = Residual(width, spec, dropout)

    def forward(
        self, x: Tensor, mask: Mask, position: NoPosition, angles: Angles | None, cache: KeyValueStore | None
    ) -> Tensor:
        """x (B, T, D) → (B, T, D)."""
        x = self.self_attention_residual(x, lambda x: self.self_attention(x, mask, position, angles, cache))
        return self.feed_forward_residual(x, self.feed_forward)


def _rotation(position: architecture.Position, head_width: int) -> tuple[architecture.Position, int]:
    """What tells one way of rotating from another; only rotary positions look at the head width."""
    return position, head_width if position.kind == "rotary" else 0


class Stack(nn.Module):
    """Positions, N blocks and a final norm."""

    def __init__(self, width: int, context: int, spec: architecture.Stack, dropout: float) -> None:
        super().__init__()
        first = spec.blocks[0].attention.head_width
        self.position = make_position(spec.position, width, context, first)
        self.embedding_norm = make_norm(width, spec.embedding_norm)
        self.dropout = Dropout(dropout)
        self.blocks = nn.ModuleList(Block(width, block, dropout) for block in spec.blocks)
        self.final_norm = make_norm(width, spec.final_norm)
        # Layers that differ from the stack share one part for each way of differing: angles are worked out once.
        own = _rotation(spec.position, first)
        ways = [_rotation(block.position or spec.position, block.attention.head_width) for block in spec.blocks]
        other = [way for way in dict.fromkeys(ways) if way != own]
        self.other_positions = nn.ModuleList(make_position(each, width, context, k) for each, k in other)
        self._windows = [block.attention.window for block in spec.blocks]
        self._position_of = [other.index(way) if way in other else -1 for way in ways]

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
