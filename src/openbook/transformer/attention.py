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
    query: Tensor, key: Tensor, value: Tensor, mask: Mask, spec: architecture.Attention, sinks: Tensor | None = None
) -> Tensor:
    """softmax(query · keyᵀ · scale + bias, where the mask allows) · value   (Vaswani et al. 2017, eq. 1).

    Args:
        query: (B, H, T, K).
        key: (B, G, S, K); H/G heads share each.
        value: (B, G, S, K).
        mask: what each query may attend to, and the bias.
        spec: gives the scale and soft cap of the scores, and whether there is a softmax.
        sinks: (H,) scores that take part in the softmax and contribute no value (Xiao et al. 2023).

    Returns:
        (B, H, T, K).
    """
    group, cap, softmax = spec.heads // spec.key_value_heads, spec.attention_softcap, spec.attention_function != "none"
    if group > 1:
        key, value = key.repeat_interleave(group, dim=1), value.repeat_interleave(group, dim=1)
    key, value = note("keys", key), note("values", value)
    scores = note("scores", query @ key.mT * spec.score_scale)
    if mask.bias is not None:
        scores = note("biased_scores", scores + mask.bias)
    if cap is not None:
        scores = note("capped_scores", cap * torch.tanh(scores / cap))
    if mask.allowed is not None:
        allowed = note("mask", mask.allowed[:, None])
        scores = note("masked_scores", scores.masked_fill(~allowed, -torch.inf if softmax else 0.0))
    weights = scores
    if sinks is not None:
        sinks = sinks[:, None, None].expand(*scores.shape[:-1], 1).to(scores.dtype)
        weights = torch.cat((scores, sinks), dim=-1).softmax(-1)[..., :-1]
    elif softmax:
        weights = scores.softmax(-1)
    return note("head_context", note("weights", weights) @ value)


class Attention(nn.Module):
    """Multi-head attention: projections to query, key and value, and from the heads' context to the output."""

    def __init__(self, width: int, spec: architecture.Attention) -> None:
        super().__init__()
        self.spec = spec
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
        cache: AttentionCache | None = None,
        angles: Angles | None = None,
    ) -> Tensor:
        """Queries of x (B, T, D) attend to keys and values of `source` → (B, T, D).

        In self-attention `source` is x itself, and its keys and values follow those in the cache. In cross-attention
        it is the encoder's output (B, S, D), or None once the cache holds its keys and values.
        """
        heads = -1, self.spec.head_width
        query = note("query", self.query(x).unflatten(-1, heads))
        query = note("rotated_query", rotate(self.query_norm(query), angles)).transpose(1, 2)
        if source is None:
            assert cache is not None, "cross-attention needs a source, or a cache of one"
            key, value = cache.get()
        else:
            key = note("key", self.key(source).unflatten(-1, heads))
            key = note("rotated_key", rotate(self.key_norm(key), angles)).transpose(1, 2)
            value = note("value", self.value(source).unflatten(-1, heads)).transpose(1, 2)
            if cache is not None:
                key, value = cache.append(key, value)
        context = attention(query, key, value, mask, self.spec, self.sinks)
        return note("output", self.output(note("context", context.transpose(1, 2).flatten(-2))))
