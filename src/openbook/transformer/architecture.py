"""What a transformer is made of, as pure data: printed by `inspect`, kept in the model file.

Every class here is frozen and checked when it is made, so an `Architecture` that exists can be built.
Letters of shapes: B batch, T query length, S key length, D width, H heads, G key/value heads, K head width,
F feed-forward width, E experts, V vocabulary, N layers.
"""

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, FailFast, Field, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from openbook.errors import OpenbookError

# The caps are far above any published model; they keep a hostile file from asking for the impossible.
Width = Annotated[int, Field(ge=1, le=2**20)]
Count = Annotated[int, Field(ge=1, le=2**12)]
Length = Annotated[int, Field(ge=1, le=2**31)]
Vocabulary = Annotated[int, Field(ge=1, le=2**24)]
Positive = Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)]
Base = Annotated[float, Field(ge=1, le=1e15, allow_inf_nan=False)]
Finite = Annotated[float, Field(ge=-1e9, le=1e9, allow_inf_nan=False)]
MAXIMUM_LAYERS = 1024
MAXIMUM_JSON = 2**21

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

    @model_validator(mode="after")
    def _bias_is_used(self) -> Self:
        if self.bias and self.kind != "layer":
            raise ValueError(f"bias is for layer norms, and this one is {self.kind}")
        return self


NO_NORM = Norm(kind="none")


@dataclass(frozen=True, kw_only=True, config=_pure_data)
class Stretch:
    """How rotary angles are slowed down, so that a model reads further than the `original` context L of its training.

    With the frequency f = base^(−2i/K) of pair i and the factor s:
    `linear`   f / s   (Chen et al. 2023, section 2.3)
    `dynamic`  f of base · (s · length / L − s + 1)^(K / (K − 2)) in a sequence longer than L
    `banded`   f · b + f / s · (1 − b), with b = (L · f / 2π − low) / (high − low) kept between 0 and 1: pairs that
               turn often within L stay, those that turn seldom are slowed
    `yarn`     the same, but b falls evenly from pair d(high) to pair d(low), where
               d(turns) = K · ln(L / (2π · turns)) / (2 · ln base)   (Peng et al. 2023, section 3.2);
               `whole_pairs` rounds d(high) down and d(low) up
    Cosines and sines are multiplied by `attention`   (Peng et al. 2023, section 3.4).
    """

    kind: Literal["linear", "dynamic", "banded", "yarn"]
    factor: Annotated[float, Field(ge=1, le=1e6, allow_inf_nan=False)]
    original: Length
    low: Positive = 1.0
    high: Positive = 4.0
    whole_pairs: bool = True
    attention: Positive = 1.0

    @model_validator(mode="after")
    def _band_is_one(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low ({self.low:g}) must be less than high ({self.high:g})")
        return self


@dataclass(frozen=True, kw_only=True, config=_pure_data)
class Position:
    """How a token's place in the sequence reaches the model.

    `rotary` turns pairs (i, i + K/2) of queries and keys by position · base^(−2i/K)   (Su et al. 2021, section 3.2)
    `sinusoidal` adds sines and cosines of the same angles to the embedding   (Vaswani et al. 2017, section 3.5)
    `learned` adds a row of a trained table of `Architecture.context` rows
    `none` adds nothing: order is then seen only through the causal mask
    """

    kind: Literal["rotary", "sinusoidal", "learned", "none"] = "rotary"
    base: Base = 10_000.0
    stretch: Stretch | None = None

    @model_validator(mode="after")
    def _stretch_has_angles(self) -> Self:
        if self.stretch is not None and self.kind != "rotary":
            raise ValueError(f"stretch is for rotary positions, and these are {self.kind}")
        if self.stretch is not None and self.base <= 1:
            raise ValueError("stretch needs a base above 1")
        return self


@dataclass(frozen=True, kw_only=True, config=_pure_data)
class Attention:
    """Multi-head attention with `heads` queries sharing `key_value_heads` keys and values (Ainslie et al. 2023).

    `scale` multiplies the scores; None means 1/sqrt(head_width).
    `score_cap` c squashes scores to c · tanh(scores / c).
    `window` w lets a token see itself and the w − 1 tokens before it; None means all before it.
    `weighting` `none` uses the masked scores themselves as weights (no softmax).
    `sinks` gives each head a learned score that takes part in the softmax and brings nothing (Xiao et al. 2023).
    """

    heads: Count
    key_value_heads: Count
    head_width: Width
    bias: bool = False
    output_bias: bool = False
    query_key_norm: Norm = NO_NORM
    scale: Finite | None = None
    score_cap: Positive | None = None
    window: Length | None = None
    weighting: Literal["softmax", "none"] = "softmax"
    sinks: bool = False

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        if self.sinks and self.weighting != "softmax":
            raise ValueError("sinks take part in a softmax, and this weighting is none")
        if self.heads % self.key_value_heads:
            raise ValueError(f"heads ({self.heads}) must be a multiple of key_value_heads ({self.key_value_heads})")
        return self


@dataclass(frozen=True, kw_only=True, config=_pure_data)
class Experts:
    """A feed-forward part in `count` copies, of which a router picks `chosen` for each token   (Shazeer et al. 2017).

    Each brings its output times its share: its probability, softmax(router(x)), divided by the sum over those that
    were picked where `renormalise` is set.
    """

    count: Count
    chosen: Count
    renormalise: bool = True
    router_bias: bool = False

    @model_validator(mode="after")
    def _enough(self) -> Self:
        if self.chosen > self.count:
            raise ValueError(f"chosen ({self.chosen}) must be at most count ({self.count})")
        return self


@dataclass(frozen=True, kw_only=True, config=_pure_data)
class FeedForward:
    """down(activation(up(x))), or when gated down(activation(gate(x)) · (up_offset + up(x)))   (Shazeer 2020, eq. 5–6).

    `limit` keeps gate(x) from rising above it, and up(x) between −limit and limit.
    """

    width: Width
    activation: Literal["relu", "gelu", "gelu_tanh", "gelu_sigmoid", "silu", "relu_squared"] = "silu"
    gated: bool = True
    bias: bool = False
    limit: Positive | None = None
    up_offset: Finite = 0.0
    experts: Experts | None = None

    @model_validator(mode="after")
    def _gate_is_there(self) -> Self:
        if not self.gated and (self.limit is not None or self.up_offset):
            raise ValueError("limit and up_offset are for gated feed-forward parts")
        return self


@dataclass(frozen=True, kw_only=True, config=_pure_data)
class Block:
    """One layer. Each sublayer stands in `x = outer(x + after(sublayer(before(x))))`."""

    attention: Attention
    feed_forward: FeedForward
    before: Norm = Norm()
    after: Norm = NO_NORM
    outer: Norm = NO_NORM
    position: Position | None = None
    """Where this layer differs from the stack's position."""


@dataclass(frozen=True, kw_only=True, config=_pure_data)
class Stack:
    """N blocks between an embedding and a final norm."""

    blocks: Annotated[tuple[Block, ...], Field(min_length=1, max_length=MAXIMUM_LAYERS), FailFast()]
    position: Position = Position()
    embedding_norm: Norm = NO_NORM
    final_norm: Norm = Norm()


@dataclass(frozen=True, kw_only=True, config=_pure_data)
class Architecture:
    """A whole model: vocabulary V, width D, the longest context in tokens, and its stack.

    `embedding_scale` multiplies the embeddings, `logit_scale` the logits; `logit_cap` c squashes logits to
    c · tanh(logits / c). `tied` uses the token embedding as the matrix of the logits too.
    """

    vocabulary: Vocabulary
    width: Width
    context: Length
    decoder: Stack
    tied: bool = False
    embedding_scale: Finite = 1.0
    logit_scale: Finite = 1.0
    logit_cap: Positive | None = None
    logit_bias: bool = False

    @model_validator(mode="after")
    def _rotary_pairs(self) -> Self:
        for number, block in enumerate(self.decoder.blocks):
            position = block.position or self.decoder.position
            if position.kind == "rotary" and block.attention.head_width % 2:
                raise ValueError(f"decoder.blocks.{number}.attention.head_width must be even for rotary positions")
            stretch = position.stretch
            if stretch is not None and stretch.kind == "dynamic" and block.attention.head_width < 4:
                raise ValueError(
                    f"decoder.blocks.{number}.attention.head_width must be 4 at least for a dynamic stretch"
                )
            if block.position is not None and block.position.kind not in ("rotary", "none"):
                raise ValueError(f"decoder.blocks.{number}.position can only be rotary or none")
        if self.decoder.position.kind == "sinusoidal" and self.width % 2:
            raise ValueError("width must be even for sinusoidal positions")
        return self

    def to_json(self) -> str:
        """All fields, defaults too, so that a later default cannot change an old file."""
        return _adapter.dump_json(self).decode()

    @classmethod
    def from_json(cls, text: str) -> "Architecture":
        """Read what `to_json` wrote.

        Raises:
            OpenbookError: naming the first field that is missing, unknown or out of range.
        """
        if len(text) > MAXIMUM_JSON:
            raise OpenbookError(f"architecture: {len(text):,} characters, more than {MAXIMUM_JSON:,}")
        try:
            return _adapter.validate_json(text)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False)[0]
            place = ".".join(str(part) for part in first["loc"])[:200]
            field = f", field {place if place.isprintable() else ascii(place)}" if place else ""
            raise OpenbookError(f"architecture{field}: {first['msg'].removeprefix('Value error, ')}") from None


_adapter: TypeAdapter[Architecture] = TypeAdapter(Architecture)
