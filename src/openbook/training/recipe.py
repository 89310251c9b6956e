"""Every choice of a training run as data: what `--minutes` picks, and what an option or a TOML file overrides."""

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from openbook.errors import OpenbookError
from openbook.transformer import architecture

Rate = Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Decay = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]
Size = Annotated[int, Field(ge=1, le=2**20)]
Count = Annotated[int, Field(ge=1, le=2**30)]
Cap = Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)]


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Recipe:
    """How to train. Rates belong to the updates, shares run from 0 to 1, sizes are counts."""

    # Budget: one of the two ends the run.
    minutes: Annotated[float | None, Field(gt=0, le=1e6, description="time for everything, in minutes")] = None
    steps: Annotated[int | None, Field(ge=1, le=10**9, description="end after this many updates, not by time")] = None

    # Tokens.
    tokenizer: Annotated[
        Literal["bpe", "unigram", "bytes", "characters", "words"],
        Field(description="what a token is; bpe and unigram learn word pieces"),
    ] = "bpe"
    vocab_size: Annotated[int, Field(ge=2, le=2**20, description="how many different tokens")] = 1024

    shared_vocabulary: Annotated[bool, Field(description="one vocabulary for both sides of the pairs")] = True

    bpe_dropout: Annotated[
        Decay,
        Field(
            description="share of joins left undone while learning, so that words are spelled in other pieces; with bpe"
        ),
    ] = 0.0

    # Model.
    encoder_layers: Annotated[
        int, Field(ge=0, le=architecture.MAXIMUM_LAYERS, description="blocks that read the source of a pair; 0: none")
    ] = 0
    layers: Annotated[int, Field(ge=1, le=architecture.MAXIMUM_LAYERS, description="blocks one after another")] = 4
    width: Annotated[Size, Field(description="numbers that stand for a token between the blocks")] = 128
    heads: Annotated[int, Field(ge=1, le=4096, description="attention heads a block")] = 2
    key_value_heads: Annotated[int, Field(ge=1, le=4096, description="heads of keys and values, shared")] = 2
    head_width: Annotated[Size, Field(description="numbers of a query, key or value")] = 64
    feed_forward_width: Annotated[Size, Field(description="numbers inside the feed-forward part")] = 352
    context: Annotated[Size, Field(description="tokens that the model sees at once")] = 256
    position: Annotated[
        Literal["rotary", "relative", "learned", "sinusoidal", "none"],
        Field(description="how the model knows the order"),
    ] = "rotary"
    window: Annotated[Count | None, Field(description="tokens that attention looks back over; all if absent")] = None
    attention: Annotated[Literal["softmax", "none"], Field(description="none: scores themselves are the weights")] = (
        "softmax"
    )
    norm: Annotated[Literal["rms", "layer", "none"], Field(description="normalisation")] = "rms"
    norm_place: Annotated[Literal["pre", "post", "sandwich"], Field(description="where the norms stand")] = "pre"
    query_key_norm: Annotated[bool, Field(description="normalise queries and keys")] = True
    activation: Annotated[
        Literal["relu", "gelu", "gelu_tanh", "silu", "relu_squared"], Field(description="of the feed-forward part")
    ] = "silu"
    gated: Annotated[bool, Field(description="gate the feed-forward part (SwiGLU, GeGLU)")] = True
    experts: Annotated[
        int, Field(ge=1, le=4096, description="feed-forward parts a block, of which a token passes through a few")
    ] = 1
    experts_per_token: Annotated[int, Field(ge=1, le=4096, description="how many of the experts see a token")] = 2
    biases: Annotated[bool, Field(description="biases in every linear part")] = False
    tied_embeddings: Annotated[bool, Field(description="one matrix for embedding and logits")] = False
    logit_softcap: Annotated[Cap | None, Field(description="soft cap on the logits")] = None
    attention_softcap: Annotated[Cap | None, Field(description="soft cap on the attention scores")] = None

    # Learning.
    label_smoothing: Annotated[Decay, Field(description="part of each target that is spread over all tokens")] = 0.0
    optimizer: Annotated[Literal["muon", "adamw"], Field(description="for the blocks' matrices")] = "muon"
    batch_tokens: Annotated[Count, Field(description="tokens an update")] = 4096
    micro_batch_size: Annotated[Count, Field(description="windows in memory at once; the rest accumulates")] = 16
    matrix_lr: Annotated[Rate, Field(description="Muon's rate")] = 0.03
    adamw_lr: Annotated[Rate, Field(description="AdamW's rate for matrices that Muon does not take")] = 0.003
    embedding_lr: Annotated[Rate, Field(description="AdamW's rate for embeddings")] = 0.1
    lm_head_lr: Annotated[Rate, Field(description="AdamW's rate for the logits' matrix")] = 0.01
    norm_lr: Annotated[Rate, Field(description="AdamW's rate for norms and biases")] = 0.03
    relative_lr: Annotated[
        bool, Field(description="AdamW's rates are shares of each tensor's own size, to go on from a model")
    ] = False
    momentum: Annotated[Decay, Field(description="Muon's momentum")] = 0.9
    betas: Annotated[tuple[Decay, Decay], Field(description="AdamW's two decays")] = (0.8, 0.95)
    weight_decay: Annotated[Rate, Field(description="pull of matrices towards zero")] = 0.0
    dropout: Annotated[Decay, Field(description="share of numbers dropped while learning")] = 0.0
    warmup_steps: Annotated[int, Field(ge=0, le=10**9, description="updates over which the rates rise")] = 10
    schedule: Annotated[
        Literal["linear", "inverse-square-root"], Field(description="rates after the rise: level, or √(warmup/step)")
    ] = "linear"
    decay_fraction: Annotated[Share, Field(description="last part of the run, over which the rates fall")] = 0.5
    min_lr_ratio: Annotated[Share, Field(description="what is left of the rates at the end")] = 0.05
    load_balancing: Annotated[Rate, Field(description="how strongly tokens are spread over the experts")] = 0.01
    max_grad_norm: Annotated[Cap, Field(description="greatest norm of a gradient")] = 1.0
    ema_decay: Annotated[Decay, Field(description="decay of the average of weights that is kept; 0: no average")] = 0.0
    gradient_checkpointing: Annotated[
        bool, Field(description="work out blocks again for the gradient: less memory, a third more time")
    ] = False
    document_mask: Annotated[bool, Field(description="documents do not see each other")] = False
    validations: Annotated[int, Field(ge=1, le=10_000, description="how often the model is validated")] = 20
    validation_tokens: Annotated[Count, Field(description="held-out tokens to score each time; all at the end")] = (
        1 << 16
    )
    translations: Annotated[Count, Field(description="held-out sources to translate each time, for BLEU")] = 100
    patience: Annotated[Count, Field(description="stop after this many validations without a better one")] = 6
    precision: Annotated[Literal["auto", "float32", "bfloat16"], Field(description="of matrix products")] = "auto"
    seed: Annotated[int, Field(ge=0, lt=2**31, description="same seed, same run")] = 1

    @model_validator(mode="after")
    def _whole_rows(self) -> Self:
        if self.steps is not None and self.minutes is not None:
            raise ValueError("give minutes or steps, not both")
        if self.heads % self.key_value_heads:
            raise ValueError(f"heads ({self.heads}) must be a multiple of key_value_heads ({self.key_value_heads})")
        if self.bpe_dropout and self.tokenizer != "bpe":
            raise ValueError(
                f"bpe_dropout is for byte pairs, and the tokenizer is {self.tokenizer}; take --tokenizer "
                "bpe, or leave --bpe-dropout out"
            )
        if self.batch_tokens < self.context:
            raise ValueError(
                f"batch_tokens ({self.batch_tokens}) must hold a window of context ({self.context}) tokens"
            )
        return self

    @property
    def rows(self) -> int:
        """Windows an update."""
        return self.batch_tokens // self.context

    def as_dict(self) -> dict[str, Any]:
        """Plain values by name."""
        return asdict(self)


FIELDS = {field.name: field for field in fields(Recipe)}
_adapter = TypeAdapter(Recipe)


def make_recipe(choices: Mapping[str, Any], source: str = "options") -> Recipe:
    """A recipe with these choices; what must fit a choice and is not given itself, fits it.

    Raises:
        OpenbookError: naming the source, the field and what it may be.
    """
    try:
        return _adapter.validate_python(_fitting(choices) | dict(choices))
    except ValidationError as error:
        errors = error.errors(include_url=False, include_context=False)
        first = next((each for each in errors if each["loc"] and each["loc"][0] in choices), errors[0])
        name = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        if first["type"] == "unexpected_keyword_argument":
            message = f"there is no such choice; there are {', '.join(FIELDS)}"
        given = f" (given: {first['input']!r})" if name in choices else ""
        raise OpenbookError(f"{source}: {name + ': ' if name else ''}{message}{given}") from None


def _fitting(choices: Mapping[str, Any]) -> dict[str, Any]:
    """Values of fields that hang together with those that are given."""
    fitting: dict[str, Any] = {}
    match choices:
        case {"context": int(context)}:
            fitting["batch_tokens"] = max(Recipe.batch_tokens, context)
        case {"batch_tokens": int(batch)}:
            fitting["context"] = max(1, min(Recipe.context, batch))
    match choices:
        case {"heads": int(heads)}:
            fitting["key_value_heads"] = heads
        case {"key_value_heads": int(shared)}:
            fitting["heads"] = shared
    if choices.get("norm") == "none":
        fitting["query_key_norm"] = False
    return fitting


def with_options(choices: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Choices from a file, overridden by options; a budget given by option overrides any in the file."""
    budgets = {"minutes", "steps"}
    kept = {name: value for name, value in choices.items() if not (name in budgets and budgets & options.keys())}
    return kept | dict(options)


def read_toml(path: Path) -> dict[str, Any]:
    """Choices from a small TOML file with the names of `Recipe`.

    Raises:
        OpenbookError: naming the file and the line or field.
    """
    try:
        choices = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise OpenbookError(f"{path}: cannot be read ({error.strerror})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise OpenbookError(f"{path}: is not TOML ({error}); write lines such as: layers = 6") from None
    known = {name: value for name, value in choices.items() if name in FIELDS}
    make_recipe(known | {name: value for name, value in choices.items() if name not in known}, str(path))
    return choices


def build_architecture(recipe: Recipe) -> architecture.Architecture:
    """The architecture that a recipe describes; the default is a shape that Hugging Face has a name for.

    Raises:
        OpenbookError: two choices do not go together.
    """
    try:
        return _architecture(recipe)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        place = f"{first['loc'][-1]}: " if first["loc"] else ""
        raise OpenbookError(f"options: {place}{first['msg'].removeprefix('Value error, ')}") from None


def _architecture(recipe: Recipe) -> architecture.Architecture:
    norm = architecture.Norm(kind=recipe.norm, bias=recipe.norm == "layer" and recipe.biases)
    none = architecture.NO_NORM
    attention = architecture.Attention(
        heads=recipe.heads,
        key_value_heads=recipe.key_value_heads,
        head_width=recipe.head_width,
        bias=recipe.biases,
        output_bias=recipe.biases,
        query_key_norm=architecture.Norm() if recipe.query_key_norm else none,
        attention_softcap=recipe.attention_softcap,
        window=recipe.window,
        attention_function=recipe.attention,
        # Without softmax a row of weights does not sum to 1; dividing by the context keeps its sum small.
        scale=recipe.head_width**-0.5 / recipe.context if recipe.attention == "none" else None,
    )
    experts = None
    if recipe.experts > 1:
        experts = architecture.Experts(
            count=recipe.experts, experts_per_token=min(recipe.experts, recipe.experts_per_token)
        )
    block = architecture.Block(
        attention=attention,
        feed_forward=architecture.FeedForward(
            width=recipe.feed_forward_width,
            activation=recipe.activation,
            gated=recipe.gated,
            bias=recipe.biases,
            experts=experts,
        ),
        before=none if recipe.norm_place == "post" else norm,
        after=norm if recipe.norm_place == "sandwich" else none,
        outer=norm if recipe.norm_place == "post" else none,
    )
    position, final_norm = _position(recipe), none if recipe.norm_place == "post" else norm
    encoder = None
    if recipe.encoder_layers:
        encoder = architecture.Stack(blocks=(block,) * recipe.encoder_layers, position=position, final_norm=final_norm)
        block = replace(block, cross_attention=replace(attention, window=None))
    return architecture.Architecture(
        vocab_size=recipe.vocab_size,
        width=recipe.width,
        context=recipe.context,
        source_vocab_size=None if encoder is None or recipe.shared_vocabulary else recipe.vocab_size,
        tied_embeddings=recipe.tied_embeddings,
        # Tied vectors are small for the sake of the logits (Vaswani et al. 2017, section 3.4).
        embedding_scale=recipe.width**0.5 if encoder is not None and recipe.tied_embeddings else 1.0,
        logit_softcap=recipe.logit_softcap,
        encoder=encoder,
        decoder=architecture.Stack(blocks=(block,) * recipe.layers, position=position, final_norm=final_norm),
    )


def _position(recipe: Recipe) -> architecture.Position:
    """The position; the sinusoidal one of an encoder-decoder is that of the shape which other programs know.

    There the angles are position · 10000^(−i / (D/2 − 1)), all sines come before all cosines, and the first is at 2.
    """
    if recipe.position != "sinusoidal" or not recipe.encoder_layers:
        return architecture.Position(kind=recipe.position)
    half = max(2, recipe.width // 2)
    return architecture.Position(kind="sinusoidal", base=10_000.0 ** (half / (half - 1)), concatenated=True, offset=2)
