"""The hyperparameters of a training run: chosen by the plan, or given as options or in a TOML file."""

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_type_hints

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from openbook.errors import OpenbookError, SettingError
from openbook.text.field_errors import field_errors, wanted
from openbook.text.plain_files import open_plain
from openbook.text.printable import excerpt, printable_path
from openbook.transformer import architecture

LearningRate = Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)]
Coefficient = LearningRate
Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
BelowOne = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]
Width = Annotated[int, Field(ge=1, le=2**20)]
Count = Annotated[int, Field(ge=1, le=2**30)]
Layers = Annotated[int, Field(ge=1, le=architecture.MAXIMUM_LAYERS)]
Heads = Annotated[int, Field(ge=1, le=4096)]
Positive = Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)]

MAXIMUM_TOML = 20_000
"""Bytes of a file of choices; all fields together take two thousand."""


def _described(description: str) -> Any:
    """What `openbook train --help` says of a field."""
    return Field(description=description)


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Recipe:
    """All hyperparameters of a training run. The fields in `PLANNED` are chosen by the plan if they are not given."""

    # Budget.
    minutes: Annotated[float | None, Field(gt=0, le=1e6), _described("time for the whole run, in minutes")] = None
    steps: Annotated[int | None, Field(ge=1, le=10**9), _described("train for this many steps, not by time")] = None

    # Tokenizer.
    tokenizer: Annotated[
        Literal["bpe", "unigram", "bytes", "characters", "words"],
        _described("bpe and unigram learn subwords; bytes, characters or words"),
    ] = "bpe"
    vocab_size: Annotated[int, Field(ge=2, le=2**20), _described("vocabulary size")] = 1024
    shared_vocabulary: Annotated[bool, _described("pairs: one vocabulary for source and target")] = True
    bpe_dropout: Annotated[
        BelowOne, _described("with bpe: probability of skipping a merge in training, for varied segmentations")
    ] = 0.0

    # Model.
    encoder_layers: Annotated[
        int, Field(ge=0, le=architecture.MAXIMUM_LAYERS), _described("encoder layers, for pairs; 0: decoder-only")
    ] = 0
    layers: Annotated[Layers, _described("decoder layers")] = 4
    width: Annotated[Width, _described("width of the residual stream (d_model)")] = 128
    heads: Annotated[Heads, _described("attention heads per layer")] = 2
    key_value_heads: Annotated[Heads, _described("key and value heads, for grouped-query attention")] = 2
    head_width: Annotated[Width, _described("width of each head (d_head)")] = 64
    feed_forward_width: Annotated[Width, _described("width of the feed-forward layer (d_ff)")] = 352
    context: Annotated[Width, _described("context length in tokens")] = 256
    position: Annotated[
        Literal["rotary", "relative", "learned", "sinusoidal", "none"],
        _described("position encoding: rotary (RoPE), relative bias, learned, sinusoidal or none"),
    ] = "rotary"
    sliding_window: Annotated[
        Count | None, _described("attend to this many tokens back only (sliding-window attention)")
    ] = None
    attention: Annotated[
        Literal["softmax", "none"], _described("attention function; none uses the scores as weights")
    ] = "softmax"
    norm: Annotated[Literal["rms", "layer", "none"], _described("RMSNorm, LayerNorm or none")] = "rms"
    norm_placement: Annotated[
        Literal["pre", "post", "sandwich"], _described("norms before each sublayer, after the residual sum, or both")
    ] = "pre"
    qk_norm: Annotated[bool, _described("normalize queries and keys (QK norm)")] = True
    activation: Annotated[
        Literal["relu", "gelu", "gelu_tanh", "silu", "relu_squared"], _described("feed-forward activation")
    ] = "silu"
    gated: Annotated[bool, _described("gated feed-forward layer (SwiGLU, GeGLU)")] = True
    experts: Annotated[Heads, _described("experts per layer (mixture of experts); 1: a dense model")] = 1
    experts_per_token: Annotated[Heads, _described("experts that process each token (top-k routing)")] = 2
    bias: Annotated[bool, _described("biases in linear layers and LayerNorm")] = False
    tied_embeddings: Annotated[bool, _described("share the embedding matrix with the LM head")] = False
    logit_softcap: Annotated[Positive | None, _described("soft cap on the logits, e.g. 30")] = None
    attention_softcap: Annotated[Positive | None, _described("soft cap on the attention scores, e.g. 50")] = None

    # Training.
    label_smoothing: Annotated[BelowOne, _described("label smoothing")] = 0.0
    optimizer: Annotated[Literal["muon", "adamw"], _described("optimizer of the blocks' matrices")] = "muon"
    batch_tokens: Annotated[Count, _described("batch size: tokens per step")] = 4096
    micro_batch_size: Annotated[Count, _described("sequences per micro-batch; gradients accumulate over a step")] = 16
    matrix_lr: Annotated[LearningRate, _described("learning rate of Muon")] = 0.03
    adamw_lr: Annotated[LearningRate, _described("learning rate of AdamW for the blocks' matrices, and of LoRA")] = (
        0.003
    )
    embedding_lr: Annotated[LearningRate, _described("learning rate of embeddings (AdamW)")] = 0.1
    lm_head_lr: Annotated[LearningRate, _described("learning rate of the LM head (AdamW)")] = 0.01
    norm_lr: Annotated[LearningRate, _described("learning rate of norms and biases (AdamW)")] = 0.03
    relative_lr: Annotated[
        bool, _described("multiply AdamW's rates by each tensor's root mean square, for fine-tuning")
    ] = False
    muon_momentum: Annotated[BelowOne, _described("momentum of Muon")] = 0.9
    adamw_betas: Annotated[tuple[BelowOne, BelowOne], _described("beta1 and beta2 of AdamW")] = (0.8, 0.95)
    weight_decay: Annotated[Coefficient, _described("decoupled weight decay of matrices")] = 0.0
    dropout: Annotated[BelowOne, _described("dropout probability")] = 0.0
    warmup_steps: Annotated[int, Field(ge=0, le=10**9), _described("steps of linear warm-up")] = 10
    lr_schedule: Annotated[
        Literal["wsd", "inverse_sqrt"],
        _described("after the warm-up: constant, then linear decay (wsd); or inverse square root, then linear decay"),
    ] = "wsd"
    decay_fraction: Annotated[Fraction, _described("last fraction of the run, in which the rates decay")] = 0.5
    min_lr_ratio: Annotated[Fraction, _described("final learning rate as a fraction of the peak")] = 0.05
    load_balancing: Annotated[Coefficient, _described("coefficient of the experts' load-balancing loss")] = 0.01
    max_grad_norm: Annotated[Positive, _described("gradient clipping: maximum norm")] = 1.0
    ema_decay: Annotated[
        BelowOne, _described("decay of an exponential moving average of the weights, which is saved; 0: no average")
    ] = 0.0
    gradient_checkpointing: Annotated[
        bool, _described("recompute blocks in the backward pass: less memory, a third more time")
    ] = False
    document_mask: Annotated[bool, _described("prevent attention across documents")] = False
    validations: Annotated[int, Field(ge=1, le=10_000), _described("number of validations in the run")] = 20
    validation_tokens: Annotated[Count, _described("held-out tokens per validation; all are scored at the end")] = (
        1 << 16
    )
    validation_translations: Annotated[
        Count, _described("pairs: held-out sentences translated per validation, for BLEU and chrF")
    ] = 100
    patience: Annotated[Count, _described("early stopping: validations without improvement")] = 6
    stop_when_known: Annotated[bool, _described("conversations: end the run when every answer is known")] = False
    precision: Annotated[
        Literal["auto", "float32", "bfloat16"], _described("of matrix products; auto measures which is faster")
    ] = "auto"
    seed: Annotated[int, Field(ge=0, lt=2**31), _described("random seed")] = 1

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.steps is not None and self.minutes is not None:
            raise ValueError("give `minutes` or `steps`, not both")
        if self.heads % self.key_value_heads:
            raise ValueError(f"`heads` ({self.heads}) must be a multiple of `key_value_heads` ({self.key_value_heads})")
        if self.bpe_dropout and self.tokenizer != "bpe":
            raise ValueError(
                f"`bpe_dropout` needs a BPE tokenizer, not {self.tokenizer}; leave it out, or give `tokenizer`=bpe"
            )
        if self.batch_tokens < self.context:
            raise ValueError(
                f"`batch_tokens` ({self.batch_tokens}) must hold a sequence of `context` ({self.context}) tokens"
            )
        return self

    @property
    def batch_size(self) -> int:
        """Sequences per step."""
        return self.batch_tokens // self.context

    def as_dict(self) -> dict[str, Any]:
        """Plain values by name."""
        return asdict(self)


FIELDS = {field.name: field for field in fields(Recipe)}

PLANNED = {
    "minutes", "vocab_size", "encoder_layers", "layers", "width", "heads", "key_value_heads", "head_width",
    "feed_forward_width", "context", "batch_tokens", "micro_batch_size", "bpe_dropout", "dropout", "label_smoothing",
    "gradient_checkpointing", "tied_embeddings", "validations", "validation_tokens",
    "stop_when_known",
}  # fmt: skip
"""Fields that the plan chooses if they are not given; the others have the default of `Recipe`."""

PAIR_DEFAULTS: dict[str, Any] = {
    "position": "relative", "norm": "rms", "qk_norm": False, "activation": "gelu_tanh", "gated": True,
}  # fmt: skip
"""The defaults of an encoder-decoder, which exports to a Hugging Face family (docs/decisions.md)."""

_adapter = TypeAdapter(Recipe)


def make_recipe(choices: Mapping[str, Any], source: Path | None = None) -> Recipe:
    """A recipe with these choices; fields that depend on a given one, and are not given themselves, follow it.

    Args:
        choices: by name.
        source: the file they are from.

    Raises:
        OpenbookError: naming the file or the setting, what is given and what it takes.
    """
    try:
        return _adapter.validate_python(_dependent(choices) | dict(choices))
    except ValidationError as error:
        raise _refused(error, choices, source) from None


def _refused(error: ValidationError, choices: Mapping[str, Any], source: Path | None) -> OpenbookError:
    """What is wrong with the first given choice that is, else with what follows from them."""
    faults = field_errors(error, Recipe)
    first = next((each for each in faults if each.place and each.place[0] in choices), faults[0])
    message, name = first.problem, str(first.place[0]) if first.place else ""
    if name in FIELDS:
        given = f" {excerpt(_shown(choices[name]))}" if name in choices else ""
        message = f"`{name}`{given}: give {wanted(get_type_hints(Recipe, include_extras=True)[name])}"
    elif name:
        message = f"{excerpt(name)}: {message}"
    setting = SettingError(message)
    return setting if source is None else OpenbookError(f"{printable_path(source)}: {setting}")


def _shown(value: Any) -> str:
    try:
        return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    except (ValueError, RecursionError):  # a number of 5,000 digits, a table in 1,000 others
        return "…"


def _dependent(choices: Mapping[str, Any]) -> dict[str, Any]:
    """Values of fields that depend on those given."""
    dependent: dict[str, Any] = {}
    match choices:
        case {"context": int(context)}:
            dependent["batch_tokens"] = max(Recipe.batch_tokens, context)
        case {"batch_tokens": int(batch)}:
            dependent["context"] = max(1, min(Recipe.context, batch))
    match choices:
        case {"heads": int(heads)}:
            dependent["key_value_heads"] = heads
        case {"key_value_heads": int(heads)}:
            dependent["heads"] = heads
    if choices.get("norm") == "none":
        dependent["qk_norm"] = False
    return dependent


def with_options(choices: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Choices from a file, overridden by options; a budget given as an option overrides either kind in the file."""
    budgets = {"minutes", "steps"}
    kept = {name: value for name, value in choices.items() if not (name in budgets and budgets & options.keys())}
    return kept | dict(options)


def read_toml(path: Path) -> dict[str, Any]:
    """Choices from a TOML file with the names of `Recipe`.

    Raises:
        OpenbookError: naming the file and the line or field.
    """
    try:
        with open_plain(path) as file:
            content = file.read(MAXIMUM_TOML + 1)
        if len(content) > MAXIMUM_TOML:
            raise OpenbookError(f"{path}: has more than {MAXIMUM_TOML:,} bytes; write lines such as: layers = 6")
        choices = tomllib.loads(content.decode("utf-8"))
    except OSError as error:
        raise OpenbookError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:  # TOMLDecodeError, UnicodeDecodeError, a number of 5,000 digits
        raise OpenbookError(f"{path}: is not TOML ({error}); write lines such as: layers = 6") from None
    known = {name: value for name, value in choices.items() if name in FIELDS}
    make_recipe(known | {name: value for name, value in choices.items() if name not in known}, path)
    return choices


def build_architecture(recipe: Recipe) -> architecture.Architecture:
    """The architecture of a recipe; the default exports to a Hugging Face family.

    Raises:
        OpenbookError: two choices exclude each other.
    """
    if recipe.position == "rotary" and recipe.head_width % 2:
        raise SettingError(f"`head_width` {recipe.head_width}: must be even for rotary positions; see `position` too")
    if recipe.position == "sinusoidal" and recipe.width % 2:
        raise SettingError(f"`width` {recipe.width}: must be even for sinusoidal positions; see `position` too")
    try:
        return _architecture(recipe)
    except ValidationError as error:
        first = field_errors(error, vars(architecture).get(error.title, architecture.Architecture))[0]
        raise OpenbookError(f"{first.path + ': ' if first.place else ''}{first.problem}") from None


def _architecture(recipe: Recipe) -> architecture.Architecture:
    norm = architecture.Norm(kind=recipe.norm, bias=recipe.norm == "layer" and recipe.bias)
    none = architecture.NO_NORM
    attention = architecture.Attention(
        heads=recipe.heads,
        key_value_heads=recipe.key_value_heads,
        head_width=recipe.head_width,
        bias=recipe.bias,
        output_bias=recipe.bias,
        query_key_norm=architecture.Norm() if recipe.qk_norm else none,
        attention_softcap=recipe.attention_softcap,
        window=recipe.sliding_window,
        attention_function=recipe.attention,
        # Without softmax the weights of a query do not sum to 1; dividing by the context keeps their sum small.
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
            bias=recipe.bias,
            experts=experts,
        ),
        before=none if recipe.norm_placement == "post" else norm,
        after=norm if recipe.norm_placement == "sandwich" else none,
        outer=norm if recipe.norm_placement == "post" else none,
    )
    position, final_norm = _position(recipe), none if recipe.norm_placement == "post" else norm
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
        # Tied embeddings are small, for the logits; scaled back for the input (Vaswani et al. 2017, section 3.4).
        embedding_scale=recipe.width**0.5 if encoder is not None and recipe.tied_embeddings else 1.0,
        logit_softcap=recipe.logit_softcap,
        encoder=encoder,
        decoder=architecture.Stack(blocks=(block,) * recipe.layers, position=position, final_norm=final_norm),
    )


def _position(recipe: Recipe) -> architecture.Position:
    """The position encoding. Sinusoidal ones of an encoder-decoder follow fairseq, so that other programs read them:

    angles position · 10000^(−i / (D/2 − 1)), all sines before all cosines, and the first position is 2.
    """
    if recipe.position != "sinusoidal" or not recipe.encoder_layers:
        return architecture.Position(kind=recipe.position)
    half = max(2, recipe.width // 2)
    return architecture.Position(kind="sinusoidal", base=10_000.0 ** (half / (half - 1)), concatenated=True, offset=2)
