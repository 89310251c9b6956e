"""What a transformer consists of, as pure data: printed by `inspect`, kept in the model file.

Every class here is frozen and checked when it is created, so every `Architecture` that exists can be built.
Letters of shapes: B batch, T query length, S key length, D width, H heads, G key/value heads, K head width,
F feed-forward width, E experts, V vocabulary, N layers.
"""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import ConfigDict, FailFast, Field
from pydantic.dataclasses import dataclass

# The limits are far above any published model; they stop hostile files from asking for the impossible.
Width = Annotated[int, Field(ge=1, le=2**20)]
Count = Annotated[int, Field(ge=1, le=2**12)]
Length = Annotated[int, Field(ge=1, le=2**31)]
Vocabulary = Annotated[int, Field(ge=1, le=2**24)]
Positive = Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)]
Base = Annotated[float, Field(ge=1, le=1e15, allow_inf_nan=False)]
Finite = Annotated[float, Field(ge=-1e9, le=1e9, allow_inf_nan=False)]
MAXIMUM_LAYERS = 1024

_pure_data = ConfigDict(extra="forbid", strict=True)


@dataclass(frozen=True, kw_only=True, config=_pure_data)
class Norm:
    """A normalisation of the last dimension.

    `rms`: x / sqrt(mean(x²) + epsilon) · (offset + weight)   (Zhang & Sennrich 2019, eq. 4)
    `layer`: (x − mean) / sqrt(variance + epsilon) · (offset + weight) + bias   (Ba et al. 2016, eq. 4)
    `none`: x
    """

    kind: Literal["rms", "layer", "none"] = "rms"
    epsilon: Positive = 1e-6
    offset: Finite = 0.0
    bias: bool = False

    def __post_init__(self) -> None:
        if self.bias and self.kind != "layer":
            raise ValueError(f"bias is for layer norms, and this one is {self.kind}")


NO_NORM = Norm(kind="none")


@dataclass(frozen=True, kw_only=True, config=_pure_data)
class RopeScaling:
    """How rotary frequencies are lowered for contexts longer than the `original_context` L of training.

    With the frequency f = base^(−2i/K) of pair i and the `factor` s:
    `linear`   f / s   (Chen et al. 2023, section 2.3)
    `dynamic`  f with base · (s · length / L − s + 1)^(K / (K − 2)) in a sequence longer than L
    `frequency_bands`   f · b + f / s · (1 − b), with b = (L · f / 2π − low) / (high − low) clamped to 0 … 1: pairs that
               rotate often within L keep their frequency, slow ones are scaled
    `yarn`     the same, but b falls linearly from pair d(high) to pair d(low), where
               d(rotations) = K · ln(L / (2π · rotations)) / (2 · ln base)   (Peng et al. 2023, section 3.2);
               `truncate` rounds d(high) down and d(low) up
    Cosines and sines are multiplied by `attention_factor`   (Peng et al. 2023, section 3.4).
    """

    kind: Literal["linear", "dynamic", "frequency_bands", "yarn"]
    factor: Annotated[float, Field(ge=1, le=1e6, allow_inf_nan=False)]
    original_context: Length
    low_frequency: Positive = 1.0
    high_frequency: Positive = 4.0
    truncate: bool = True
    attention_factor: Positive = 1.0

    def __post_init__(self) -> None:
        if self.low_frequency >= self.high_frequency:
            raise ValueError(
                f"low_frequency ({self.low_frequency:g}) must be less than high_frequency ({self.high_frequency:g})"
            )


@dataclass(frozen=True, kw_only=True, config=_pure_data)
class Position:
    """How the model knows a token's position.

    `rotary` rotates pairs (i, i + K/2) of queries and keys by position · base^(−2i/K)   (Su et al. 2021, section 3.2)
    `sinusoidal` adds sines and cosines of the same angles to the embedding   (Vaswani et al. 2017, section 3.5):
    interleaved, or with `concatenated` all sines and then all cosines; the first token has the position `offset`
    `learned` adds a row of a trained table of `Architecture.context` rows
    `relative` adds to the scores a trained number for each head and each of `buckets` ranges of distances, the last of
    them from `max_distance` on; one table for all layers of a stack   (Raffel et al. 2020, section 2.1)
    `none` adds nothing: order shows only through the causal mask
    """

    kind: Literal["rotary", "sinusoidal", "learned", "relative", "none"] = "rotary"
    base: Base = 10_000.0
    rope_scaling: RopeScaling | None = None
    concatenated: bool = False
    offset: Annotated[int, Field(ge=0, le=2**20)] = 0
    buckets: Annotated[int, Field(ge=4, le=2**16)] = 32
    max_distance: Length = 128

    def __post_init__(self) -> None:
        if (self.concatenated or self.offset) and self.kind != "sinusoidal":
            raise ValueError(f"concatenated and offset are for sinusoidal positions, and these are {self.kind}")
        if self.rope_scaling is not None and (self.kind != "rotary" or self.base <= 1):
            raise ValueError(f"rope_scaling is for rotary positions of a base above 1, and these are {self.kind}")
        if self.max_distance <= self.buckets // 2:
            raise ValueError(f"max_distance ({self.max_distance}) must be more than half of buckets ({self.buckets})")


@dataclass(frozen=True, kw_only=True, config=_pure_data)
class Attention:
    """Multi-head attention with `heads` queries sharing `key_value_heads` keys and values (Ainslie et al. 2023).

    `scale` multiplies the scores; None means 1/sqrt(head_width).
    `attention_softcap` c squashes scores to c · tanh(scores / c).
    `window` w restricts a token to itself and the w − 1 tokens before it (in an encoder also the w − 1 after it);
    None means all.
    `attention_function` `none` uses the masked scores themselves as weights (no softmax).
    `sinks` gives each head a learned score that takes part in the softmax and contributes no value (Xiao et al. 2023).
    """

    heads: Count
    key_value_heads: Count
    head_width: Width
    bias: bool = False
    output_bias: bool = False
    query_key_norm: Norm = NO_NORM
    scale: Finite | None = None
    attention_softcap: Positive | None = None
    window: Length | None = None
    attention_function: Literal["softmax", "none"] = "softmax"
    sinks: bool = False

    @property
    def score_scale(self) -> float:
        """What multiplies the scores."""
        return self.head_width**-0.5 if self.scale is None else self.scale

    def __post_init__(self) -> None:
        if self.sinks and self.attention_function != "softmax":
            raise ValueError("sinks take part in a softmax, and this attention_function is none")
        if self.heads % self.key_value_heads:
            raise ValueError(f"heads ({self.heads}) must be a multiple of key_value_heads ({self.key_value_heads})")


@dataclass(frozen=True, kw_only=True, config=_pure_data)
class Experts:
    """`count` feed-forward parts, of which a router picks `experts_per_token` for each token   (Shazeer et al. 2017).

    The outputs are added, each times its gate weight: its probability softmax(router(x)), with `normalize_weights`
    divided by the sum over the experts that were picked.
    """

    count: Count
    experts_per_token: Count
    normalize_weights: bool = True
    router_bias: bool = False

    def __post_init__(self) -> None:
        if self.experts_per_token > self.count:
            raise ValueError(f"experts_per_token ({self.experts_per_token}) must be at most count ({self.count})")


@dataclass(frozen=True, kw_only=True, config=_pure_data)
class FeedForward:
    """down(activation(up(x))), or when gated down(activation(gate(x)) · (up_offset + up(x)))   (Shazeer 2020, eq. 5–6).

    `limit` clamps gate(x) from above, and up(x) to −limit … limit.
    """

    width: Width
    activation: Literal["relu", "gelu", "gelu_tanh", "gelu_sigmoid", "silu", "relu_squared"] = "silu"
    gated: bool = True
    bias: bool = False
    limit: Positive | None = None
    up_offset: Finite = 0.0
    experts: Experts | None = None

    def __post_init__(self) -> None:
        if not self.gated and (self.limit is not None or self.up_offset):
            raise ValueError("limit and up_offset are for gated feed-forward parts")


@dataclass(frozen=True, kw_only=True, config=_pure_data)
class Block:
    """One layer. Each sublayer is applied as x = outer(x + after(sublayer(before(x)))).

    `attention` attends to the sequence itself; `cross_attention`, in the decoder of an encoder-decoder, to the source.
    """

    attention: Attention
    feed_forward: FeedForward
    cross_attention: Attention | None = None
    before: Norm = Norm()
    after: Norm = NO_NORM
    outer: Norm = NO_NORM
    position: Position | None = None
    """This layer's own, if it differs from the stack's."""


@dataclass(frozen=True, kw_only=True, config=_pure_data)
class Stack:
    """N blocks between an embedding and a final norm."""

    blocks: Annotated[tuple[Block, ...], Field(min_length=1, max_length=MAXIMUM_LAYERS), FailFast()]
    position: Position = Position()
    embedding_norm: Norm = NO_NORM
    final_norm: Norm = Norm()


@dataclass(frozen=True, kw_only=True, config=_pure_data)
class Architecture:
    """A whole model: vocabulary V, width D, the longest context in tokens, and its stacks.

    Without `encoder` it is decoder-only. With one, the encoder reads a source of up to `context` tokens, by the token
    embedding or by one of its own for a vocabulary of `source_vocab_size`, and each block of the decoder attends to it.
    `embedding_scale` multiplies the embeddings, `logit_scale` the logits; `logit_softcap` c squashes logits to
    c · tanh(logits / c). `tied_embeddings` uses the token embedding as the matrix of the logits too.
    """

    vocab_size: Vocabulary
    width: Width
    context: Length
    decoder: Stack
    encoder: Stack | None = None
    source_vocab_size: Vocabulary | None = None
    tied_embeddings: bool = False
    embedding_scale: Finite = 1.0
    logit_scale: Finite = 1.0
    logit_softcap: Positive | None = None
    logit_bias: bool = False

    @property
    def stacks(self) -> dict[str, Stack]:
        """The stacks by name, in the order in which they run."""
        return {"decoder": self.decoder} if self.encoder is None else {"encoder": self.encoder, "decoder": self.decoder}

    @property
    def is_encoder_decoder(self) -> bool:
        """Whether an encoder reads a source."""
        return self.encoder is not None

    def __post_init__(self) -> None:
        for name, stack in self.stacks.items():
            for fault in _faults(stack, self.width, crosses=name == "decoder" and self.encoder is not None):
                raise ValueError(f"{name}.{fault}")
        if self.source_vocab_size is not None and self.encoder is None:
            raise ValueError("source_vocab_size is for models with an encoder, and this one has none")


def _faults(stack: Stack, width: int, crosses: bool) -> Iterator[str]:
    """What does not fit together in a stack; `crosses` says whether its blocks attend to a source."""
    relative = set()
    for number, block in enumerate(stack.blocks):
        position, attention, cross = block.position or stack.position, block.attention, block.cross_attention
        if position.kind == "rotary" and attention.head_width % 2:
            yield f"blocks.{number}.attention.head_width must be even for rotary positions"
        if position.rope_scaling is not None and position.rope_scaling.kind == "dynamic" and attention.head_width < 4:
            yield f"blocks.{number}.attention.head_width must be at least 4 for dynamic rope_scaling"
        if block.position is not None and block.position.kind not in ("rotary", "none"):
            yield f"blocks.{number}.position can only be rotary or none"
        if crosses != (cross is not None):
            yield f"blocks.{number}.cross_attention must be {'present' if crosses else 'absent: there is no encoder'}"
        if cross is not None and cross.window is not None:
            yield f"blocks.{number}.cross_attention.window must be absent: positions in two texts have no distance"
        if position.kind == "relative":
            relative.add(attention.heads)
    if len(relative) > 1:
        yield "blocks that share relative positions must have the same number of heads"
    if stack.position.kind == "sinusoidal" and width % 2:
        yield "position: width must be even for sinusoidal positions"
