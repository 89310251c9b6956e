"""The plan of fine-tuning: the architecture is the base model's, and small learning rates keep what it knows."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from openbook.errors import SettingError
from openbook.text.formatting import format_count
from openbook.training.data_parallel import max_replicas
from openbook.training.group import current_group
from openbook.training.plan.measure import count_parameters
from openbook.training.plan.plan import Plan, format_gigaflops, measure_speed, plan_training, with_precision
from openbook.training.plan.rules import Rules, bytes_per_token
from openbook.training.recipe import FIELDS, Recipe, make_recipe
from openbook.transformer.architecture import Architecture

OPEN = (
    "minutes", "steps", "context", "optimizer", "batch_tokens", "micro_batch_size", "matrix_lr", "adamw_lr",
    "embedding_lr", "lm_head_lr", "norm_lr", "relative_lr", "muon_momentum", "adamw_betas", "weight_decay", "dropout",
    "bpe_dropout", "warmup_steps", "lr_schedule", "decay_fraction", "min_lr_ratio", "max_grad_norm", "ema_decay",
    "gradient_checkpointing", "document_mask", "validations", "validation_tokens", "validation_translations",
    "patience", "precision", "seed", "label_smoothing", "stop_when_known",
)  # fmt: skip
"""Fields of the recipe that the base model leaves open."""

SMALL_RATES: Mapping[str, Any] = {
    "optimizer": "adamw",
    "relative_lr": True,
    "adamw_lr": 8e-4,
    "embedding_lr": 8e-4,
    "lm_head_lr": 8e-4,
    "norm_lr": 8e-4,
    "decay_fraction": 0.9,
}
"""AdamW, with rates relative to each tensor's root mean square.

Muon's matrix products would take as long as the rest of a step, since a large model sees few tokens per step here.
"""

LORA_RATES: Mapping[str, Any] = {"adamw_lr": 2e-3}
"""The LoRA matrices are new, so their rate is not relative."""


BY_HEART_LORA_RATES: Mapping[str, Any] = {"adamw_lr": 5e-4}
"""For conversations that are to be known: three facts take 20 steps, and cost half of what 2e-3 makes it forget."""

RATES_WIDTH = 576
"""The width of the model with which the rates were measured."""


@dataclass(frozen=True)
class BaseModel:
    """What is fine-tuned: all weights of this architecture, or LoRA matrices."""

    architecture: Architecture
    lora: bool = False


@dataclass(frozen=True)
class UntilKnown:
    """A run that ends when every answer is known: few steps for few conversations, and bounds where they are not.

    Attributes:
        rows: of conversations, each of at most `context` tokens.
        context: tokens of a row.
    """

    rows: int
    context: int

    def budget(self, batch_tokens: int | None, tokens: float) -> dict[str, Any]:
        """The batch, small if none is given, and the most steps; `tokens` is what the default minutes allow."""
        size = batch_tokens or self.context * min(self.rows, max(1, LEAST_BATCH // self.context))
        reading = self.rows * self.context / size
        steps = max(LEAST_STEPS, MOST_READINGS * reading, min(MOST_STEPS, tokens / size))
        return {"batch_tokens": size, "steps": math.ceil(steps), "stop_when_known": True}


LEAST_STEPS, MOST_STEPS = 100, 5000
"""The most steps until all is known, at least and (unless there is much to read) at most."""
MOST_READINGS = 16
"""How often conversations are read at most, if there are many."""
LEAST_BATCH = 256


def check_choices(given: Mapping[str, Any]) -> None:
    """Raises OpenbookError for a choice that is out of range, or that the base model fixes."""
    for name in FIELDS:
        if name in given and name not in OPEN:
            raise SettingError(f"`{name}`: is fixed by the base model")
    make_recipe(given)


def plan_fine_tuning(
    rules: Rules,
    given: Mapping[str, Any],
    base: BaseModel,
    device: torch.device,
    used: float,
    epochs: int | None = None,
    until_known: UntilKnown | None = None,
) -> Plan:
    """Choose every field that is not given, for fine-tuning.

    Args:
        rules: the amount of data and its rules.
        given: choices by name (see `Recipe`); they are kept.
        base: what is fine-tuned.
        device: where to train; its speed is measured here.
        used: seconds of the budget that have passed.
        epochs: how many to train if no minutes are given; None: for the time that a new model would get.
        until_known: to end, if neither minutes nor steps are given, when all answers are known, and not by time.

    Raises:
        OpenbookError: a given choice is out of range, or fixed by the base model.
    """
    check_choices(given)
    architecture = base.architecture
    token_bytes = bytes_per_token(architecture.vocab_size, "bpe")
    context = given.get("context", rules.fine_tuning_context(architecture, token_bytes))
    if context > architecture.context:
        raise SettingError(f"`context` {context}: the model's context is {format_count(architecture.context, 'token')}")
    minutes = given.get("minutes") or rules.default_minutes()
    length, rows = rules.measured_batch(architecture, context, token_bytes)
    speed = measure_speed(architecture, length, rows, device, minutes * 60, given.get("precision", "auto"))
    token_seconds, epoch_tokens = speed.seconds_per_token(architecture), rules.epoch_tokens(token_bytes)
    if epochs and not given.get("minutes"):
        minutes = float(min(120, max(2, round((used + epochs * epoch_tokens * token_seconds) / 60))))
    tokens = max(1.0, minutes * 60 - used) / token_seconds
    chosen = _chosen(rules, {"context": context, **given}, tokens, until_known)
    plan = plan_training(
        {**architecture_choices(architecture), "context": context, **_rates(base, until_known is not None)},
        tokens,
        epoch_tokens,
        minutes,
        chosen,
        current_group().size * max_replicas(count_parameters(architecture), device),
        rules.fine_tuning_regularization,
    )
    measured = f"{format_gigaflops(speed.flops(architecture))} GFLOP/s, measured"
    reasons = {"layers": f"the base model's; {measured}", **plan.reasons}
    recipe = with_precision(plan.recipe, speed.dtype)
    expected, step_seconds = used + plan.tokens * token_seconds, recipe.batch_tokens * token_seconds
    return replace(plan, recipe=recipe, reasons=reasons, seconds=expected, step_seconds=step_seconds)


def _chosen(rules: Rules, given: Mapping[str, Any], tokens: float, until_known: UntilKnown | None) -> dict[str, Any]:
    """The budget, and a warm-up that is a tenth of it at most; what is given is kept."""
    context = given["context"]
    chosen: dict[str, Any] = {"batch_tokens": max(context, rules.fine_tuning_batch(tokens))}
    if until_known is not None:
        chosen["batch_tokens"] = min(chosen["batch_tokens"], context * until_known.rows)
        # The score of what is learned only falls: one validation tells how long the last will take.
        chosen["validations"] = 2
        if not given.get("minutes") and not given.get("steps"):
            chosen |= until_known.budget(given.get("batch_tokens"), tokens)
    chosen |= given
    steps = chosen.get("steps") or tokens / chosen["batch_tokens"]
    return {"warmup_steps": int(min(Recipe.warmup_steps, max(1, steps / 10))), **chosen}


def _rates(base: BaseModel, by_heart: bool) -> dict[str, Any]:
    """The optimizer and its learning rates.

    To learn by heart, models narrower than `RATES_WIDTH` have higher ones, in proportion, as Adam's rates go (Yang et
    al. 2022, table 3), and LoRA has lower ones: it forgets less.
    """
    rates = {**SMALL_RATES, **((BY_HEART_LORA_RATES if by_heart else LORA_RATES) if base.lora else {})}
    if by_heart:
        factor = min(12.0, max(1.0, RATES_WIDTH / base.architecture.width))
        rates |= {name: factor * rates[name] for name in ("adamw_lr", "embedding_lr", "lm_head_lr", "norm_lr")}
    return rates


def architecture_choices(architecture: Architecture) -> dict[str, Any]:
    """The fields of a recipe that say how large this model is."""
    first = architecture.decoder.blocks[0]
    return {
        "vocab_size": architecture.vocab_size,
        "encoder_layers": 0 if architecture.encoder is None else len(architecture.encoder.blocks),
        "layers": len(architecture.decoder.blocks),
        "width": architecture.width,
        "heads": first.attention.heads,
        "key_value_heads": first.attention.key_value_heads,
        "head_width": first.attention.head_width,
        "feed_forward_width": first.feed_forward.width,
    }
