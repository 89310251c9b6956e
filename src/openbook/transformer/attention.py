"""Attention: softmax(query · keyᵀ · scale) · value, for several heads at once (Vaswani et al. 2017, eq. 1)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from openbook.trace import note, tracing
from openbook.transformer import architecture
from openbook.transformer.cache import AttentionCache
from openbook.transformer.mask import Mask
from openbook.transformer.norm import make_norm
from openbook.transformer.position import Angles, NoPosition


class Attention(nn.Module):
    """Multi-head attention; `heads` queries share `key_value_heads` keys and values."""

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
        position: NoPosition,
        angles: Angles | None,
        cache: AttentionCache | None,
    ) -> Tensor:
        """The queries of x (B, T, D) look at the keys and values of `source` → (B, T, D).

        In self-attention `source` is x itself, whose keys and values join those in the cache. In cross-attention it is
        another sequence (B, S, D), and None as soon as the cache holds it.
        """
        query = note("query", self._heads(self.query(x)))
        query = note("rotated_query", position.rotate(self.query_norm(query), angles)).transpose(1, 2)
        if source is None:
            assert cache is not None, "there is nothing to look at: neither a source nor a cache of one"
            key, value = cache.get()
        else:
            key = note("key", self._heads(self.key(source)))
            key = note("rotated_key", position.rotate(self.key_norm(key), angles)).transpose(1, 2)
            value = note("value", self._heads(self.value(source))).transpose(1, 2)
            if cache is not None:
                key, value = cache.append(key, value)
        context = self._attend(query, key, value, mask).transpose(1, 2).flatten(-2)
        return note("output", self.output(note("context", context)))

    def _heads(self, x: Tensor) -> Tensor:
        """(B, T, heads · K) → (B, T, heads, K)."""
        return x.view(*x.shape[:-1], x.shape[-1] // self.spec.head_width, self.spec.head_width)

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Mask) -> Tensor:
        """query (B, H, T, K), key and value (B, G, S, K) → (B, H, T, K)."""
        grouped = self.spec.heads != self.spec.key_value_heads
        fusable = (
            self.spec.attention_function == "softmax" and self.spec.attention_softcap is None and self.sinks is None
        )
        if fusable and not tracing() and not _plain_is_faster(query, key):
            seen, scale = mask.for_kernel, self.scale
            if torch.compiler.is_exporting():
                # Runtimes have no kernel for a product of a single query that scales, and masks are for each query.
                query, scale = query * scale, 1.0
                if seen is not None and seen.shape[2] != query.shape[2]:
                    seen = seen.expand(-1, -1, query.shape[2], -1)
            return F.scaled_dot_product_attention(
                query, key, value, seen, is_causal=mask.is_causal, scale=scale, enable_gqa=grouped
            )
        if grouped:
            each = self.spec.heads // self.spec.key_value_heads
            key, value = key.repeat_interleave(each, dim=1), value.repeat_interleave(each, dim=1)
        key, value = note("keys", key), note("values", value)
        scores = note("scores", query @ key.mT * self.scale)
        if mask.bias is not None:
            scores = note("biased_scores", scores + mask.bias)
        if self.spec.attention_softcap is not None:
            scores = note(
                "capped_scores", self.spec.attention_softcap * torch.tanh(scores / self.spec.attention_softcap)
            )
        weights = self._weigh(scores, mask.allowed)
        return note("head_context", weights @ value)

    def _weigh(self, scores: Tensor, allowed: Tensor | None) -> Tensor:
        """Scores (B, H, T, S) → weights of the same shape; what is not allowed weighs nothing."""
        plain = self.spec.attention_function == "none"
        if allowed is not None:
            allowed = note("mask", allowed[:, None])
            scores = note("masked_scores", scores.masked_fill(~allowed, 0.0 if plain else -torch.inf))
        if self.sinks is not None:
            sinks = self.sinks[:, None, None].expand(*scores.shape[:-1], 1).to(scores.dtype)
            return note("weights", torch.cat((scores, sinks), dim=-1).softmax(-1)[..., :-1])
        return note("weights", scores if plain else scores.softmax(-1))


FEW_QUERIES, FEW_KEYS = 8, 128
"""As of translations under way: with one query the plain steps take half as long, with five as long; with 512 keys a
fifth longer."""


def _plain_is_faster(query: Tensor, key: Tensor) -> bool:
    """Whether the readable steps take less time than the fused kernel, which on a CPU takes up to twice as long.

    So it is when few queries look at few keys, each head at its own, and when bfloat16 learns; but not in a graph that
    is written down for others to run, who have a kernel of their own.
    """
    if not query.is_cpu or torch.compiler.is_exporting():
        return False
    if query.requires_grad:
        return query.dtype == torch.bfloat16 and key.shape[2] <= 512
    few = query.shape[2] <= FEW_QUERIES and key.shape[2] <= FEW_KEYS
    return few and query.shape[1] == key.shape[1]
