"""What each part of the model adds to the logit of one token: the embedding, every head, every feed-forward part.

The residual stream is a sum, so a logit is one too once the norms on the way are taken as what they did to this very
vector: a division by a number, which is recorded (direct logit attribution; Elhage et al. 2021, "A Mathematical
Framework for Transformer Circuits").
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from openbook.trace import Trace
from openbook.transformer.attention import Attention
from openbook.transformer.block import Block, Residual
from openbook.transformer.norm import LayerNorm, RMSNorm
from openbook.transformer.transformer import Transformer

Kind = Literal["embedding", "position", "head", "cross_head", "bias", "feed_forward", "norm"]


@dataclass(frozen=True)
class Contribution:
    """What one part adds to a logit.

    Attributes:
        name: for people: "layer 2, head 3".
        kind: of part.
        layer, head: whose it is; None where it belongs to none.
        value: what it adds.
    """

    name: str
    kind: Kind
    layer: int | None
    head: int | None
    value: float


@dataclass(frozen=True)
class Contributions:
    """All parts of one logit, in the order in which they ran.

    Attributes:
        token: whose logit it is.
        row: after which token of the pass.
        terms: they add up to `sum`.
        logit: as it was recorded, before a soft cap.
        capped: the logit after the soft cap; None without one.
        error: of the sum.
    """

    token: int
    row: int
    terms: tuple[Contribution, ...]
    sum: float
    logit: float
    capped: float | None
    error: float


@dataclass
class _Stream:
    """The parts of one token's vector, each with its name: parts (n, D), float64."""

    names: list[tuple[str, Kind, int | None, int | None]]
    parts: Tensor

    def add(self, name: str, kind: Kind, layer: int | None, head: int | None, vector: Tensor) -> None:
        self.names.append((name, kind, layer, head))
        self.parts = torch.cat((self.parts, vector.double()[None]))

    def append(self, other: "_Stream") -> None:
        self.names += other.names
        self.parts = torch.cat((self.parts, other.parts))


@torch.no_grad()
def contributions(model: Transformer, trace: Trace, row: int, token: int | None = None) -> Contributions:
    """What every part adds to the logit of `token` after row `row` of a traced pass; of a batch, its first row.

    Args:
        model: that was traced.
        trace: of a pass.
        row: the index of a token of the pass.
        token: an id of the vocabulary; None for the most probable one.
    """
    recorded = trace["to_logits.logits"].value[0]
    head = model.to_logits
    token = int(recorded[row].argmax()) if token is None else token
    stream = _embedded(model, trace, row)
    for number, block in enumerate(model.decoder.blocks):
        assert isinstance(block, Block)
        for sublayer in ("self_attention", "cross_attention", "feed_forward"):
            if hasattr(block, sublayer):
                stream = _after_sublayer(stream, block, number, sublayer, trace, row)
    stream = _through_norm(stream, model.decoder.final_norm, "decoder.final_norm", trace, row, "final norm", None)
    weight = (model.token_embedding.weight if head.weight is None else head.weight)[token].double()
    values = (stream.parts @ weight * head.scale).tolist()
    terms = [Contribution(*name, value) for name, value in zip(stream.names, values, strict=True)]
    if head.bias is not None:
        terms.append(Contribution("bias of the logits", "bias", None, None, head.bias[token].item()))
    uncapped = trace["to_logits.uncapped"].value[0] if "to_logits.uncapped" in trace else recorded
    total, logit = sum(term.value for term in terms), uncapped[row, token].item()
    capped = None if head.cap is None else recorded[row, token].item()
    return Contributions(token, row, tuple(terms), total, logit, capped, abs(total - logit))


def _embedded(model: Transformer, trace: Trace, row: int) -> _Stream:
    """The token's embedding, and its position's where that is added, after the embedding's norm."""
    stream = _Stream([("embedding of the token", "embedding", None, None)], _row(trace, "token_embedding.output", row))
    position = "decoder.position_embedding"
    if position in trace:
        stream.add("embedding of the position", "position", None, None, _row(trace, position, row)[0])
    return _through_norm(
        stream, model.decoder.embedding_norm, "decoder.embedding_norm", trace, row, "norm of the embedding", None
    )


def _after_sublayer(stream: _Stream, block: Block, number: int, sublayer: str, trace: Trace, row: int) -> _Stream:
    """The stream after x = outer(x + after(sublayer(before(x))))."""
    path = f"decoder.blocks.{number}.{sublayer}"
    residual = block.get_submodule(f"{sublayer}_residual")
    assert isinstance(residual, Residual)
    if sublayer == "feed_forward":
        name: tuple[str, Kind, int | None, int | None] = (f"layer {number}, feed-forward", "feed_forward", number, None)
        added = _Stream([name], _row(trace, f"{path}.output", row))
    else:
        attention = block.get_submodule(sublayer)
        assert isinstance(attention, Attention)
        added = _heads(attention, number, sublayer == "cross_attention", path, trace, row)
    where = f"layer {number}, norm after {sublayer.replace('_', '-')}"
    added = _through_norm(added, residual.after, f"{path}_residual.after", trace, row, where, number)
    stream.append(added)
    return _through_norm(stream, residual.outer, f"{path}_residual.outer", trace, row, where, number)


def _heads(attention: Attention, number: int, cross: bool, path: str, trace: Trace, row: int) -> _Stream:
    """What each head adds: its context through its own columns of the output matrix; and the output's bias."""
    context = trace[f"{path}.head_context"].value[0, :, row].double()  # (H, K)
    weight = attention.output.weight.double()  # (D, H · K)
    by_head = weight.unflatten(1, context.shape)  # type: ignore[no-untyped-call]
    vectors = torch.einsum("hk,dhk->hd", context, by_head)
    label = "cross-attention head" if cross else "head"
    kind: Kind = "cross_head" if cross else "head"
    names: list[tuple[str, Kind, int | None, int | None]] = [
        (f"layer {number}, {label} {h}", kind, number, h) for h in range(len(context))
    ]
    stream = _Stream(names, vectors)
    if attention.output.bias is not None:
        where = "cross-attention" if cross else "attention"
        stream.add(f"layer {number}, bias of {where}", "bias", number, None, attention.output.bias)
    return stream


def _through_norm(
    stream: _Stream, norm: nn.Module, path: str, trace: Trace, row: int, name: str, layer: int | None
) -> _Stream:
    """Each part as the norm left it: centred where the norm centres, then times the scale that it had here."""
    if not isinstance(norm, RMSNorm | LayerNorm):
        return stream
    parts, scale = stream.parts, norm.scale.double()
    if isinstance(norm, LayerNorm):
        parts = parts - parts.mean(-1, keepdim=True)
        spread = trace[f"{path}.variance"].value[0, row].double()
    else:
        spread = trace[f"{path}.mean_square"].value[0, row].double()
    result = _Stream(list(stream.names), parts / torch.sqrt(spread + norm.epsilon) * scale)
    if norm.bias is not None:
        result.add(f"{name}: bias", "norm", layer, None, norm.bias)
    return result


def _row(trace: Trace, path: str, row: int) -> Tensor:
    """(1, D) of one row; positions are recorded once for the whole batch."""
    value = trace[path].value[0]
    return value[min(row, len(value) - 1)].double()[None]


def by_layer(terms: tuple[Contribution, ...], layers: int) -> Iterator[dict[str, object]]:
    """For each layer what its heads and its parts add."""
    for number in range(layers):
        own = [term for term in terms if term.layer == number]

        def total(*kinds: str, own: list[Contribution] = own) -> float:
            return sum(term.value for term in own if term.kind in kinds)

        yield {
            "layer": number,
            "attention": total("head"),
            "cross": total("cross_head"),
            "feed_forward": total("feed_forward"),
            "bias": total("bias", "norm"),
            "heads": [{"head": term.head, "value": term.value} for term in own if term.kind == "head"],
            "cross_heads": [{"head": term.head, "value": term.value} for term in own if term.kind == "cross_head"],
        }
