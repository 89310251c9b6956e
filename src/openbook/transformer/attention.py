"""Attention: softmax(query · keyᵀ · scale) · value, for several heads at once (Vaswani et al. 2017, eq. 1)."""

import torch
from torch import Tensor, nn

from openbook.trace import note
from openbook.transformer import architecture, fused
from openbook.transformer.cache import AttentionCache
from openbook.transformer.mask import Mask
from openbook.transformer.norm import make_norm
from openbook.transformer.position import Angles, rotate


@fused.accelerated_by(fused.attention)
def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Mask,
    scale: float,
    softcap: float | None = None,
    sinks: Tensor | None = None,
    softmax: bool = True,
) -> Tensor:
    """softmax(query · keyᵀ · scale + bias, where the mask allows) · value   (Vaswani et al. 2017, eq. 1).

    Args:
        query: (B, H, T, K).
        key: (B, G, S, K); H/G heads share each.
        value: (B, G, S, K).
        mask: what each query may attend to, and the bias.
        scale: multiplies the scores.
        softcap: c squashes the scores to c · tanh(scores / c).
        sinks: (H,) scores that take part in the softmax and contribute no value (Xiao et al. 2023).
        softmax: else the scores themselves are the weights.

    Returns:
        (B, H, T, K).
    """
    group = query.shape[1] // key.shape[1]
    if group > 1:
        key, value = key.repeat_interleave(group, dim=1), value.repeat_interleave(group, dim=1)
    key, value = note("keys", key), note("values", value)
    scores = note("scores", query @ key.mT * scale)
    if mask.bias is not None:
        scores = note("biased_scores", scores + mask.bias)
    if softcap is not None:
        scores = note("capped_scores", softcap * torch.tanh(scores / softcap))
    if mask.allowed is not None:
        allowed = note("mask", mask.allowed[:, None])
        scores = note("masked_scores", scores.masked_fill(~allowed, -torch.inf if softmax else 0.0))
    if sinks is not None:
        sinks = sinks[:, None, None].expand(*scores.shape[:-1], 1).to(scores.dtype)
        weights = torch.cat((scores, sinks), dim=-1).softmax(-1)[..., :-1]
    else:
        weights = scores.softmax(-1) if softmax else scores
    return note("head_context", note("weights", weights) @ value)


class Attention(nn.Module):
    """Multi-head attention: projections to query, key and value, and from the heads' context to the output."""

    def __init__(self, width: int, spec: architecture.Attention) -> None:
        super().__init__()
        self.spec = spec
        self.scale = spec.head_width**-0.5 if spec.scale is None else spec.scale
        inner, shared = spec.heads * spec.head_width, spec.key_value_heads * spec.head_width
        self.query = nn.Linear(width, inner, bias=spec.bias)
        self.key = nn.Linear(width, shared, bias=spec.bias)
        self.value = nn.Linear(width, shared, bias=spec.bias)
        self.output = nn.Linear(inner, width, bias=spec.output_bias)
        self.query_norm = make_norm(spec.head_width, spec.query_key_norm)
        self.key_norm = make_norm(spec.head_width, spec.query_key_norm)
        self.sinks = nn.Parameter(torch.zeros(spec.heads)) if spec.sinks else None

    def forward(
        self,
        x: Tensor,
        source: Tensor | None,
        mask: Mask,
        angles: Angles | None = None,
        cache: AttentionCache | None = None,
    ) -> Tensor:
        """Queries of x (B, T, D) attend to keys and values of `source` → (B, T, D).

        In self-attention `source` is x itself, and its keys and values follow those in the cache. In cross-attention
        it is the encoder's output (B, S, D), or None once the cache holds its keys and values.
        """
        query = note("query", self._heads(self.query(x)))
        query = note("rotated_query", rotate(self.query_norm(query), angles)).transpose(1, 2)
        if source is None:
            assert cache is not None, "cross-attention needs a source, or a cache of one"
            key, value = cache.get()
        else:
            key = note("key", self._heads(self.key(source)))
            key = note("rotated_key", rotate(self.key_norm(key), angles)).transpose(1, 2)
            value = note("value", self._heads(self.value(source))).transpose(1, 2)
            if cache is not None:
                key, value = cache.append(key, value)
        softmax = self.spec.attention_function == "softmax"
        context = attention(query, key, value, mask, self.scale, self.spec.attention_softcap, self.sinks, softmax)
        return note("output", self.output(note("context", context.transpose(1, 2).flatten(-2))))

    def _heads(self, x: Tensor) -> Tensor:
        """(B, T, heads · K) → (B, T, heads, K)."""
        return x.view(*x.shape[:-1], x.shape[-1] // self.spec.head_width, self.spec.head_width)
