"""The plan of fine-tuning: the architecture is the base model's, and small learning rates keep what it knows."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from openbook.errors import SettingError
from openbook.text.formatting import format_count
from openbook.training.data_parallel import max_replicas
from openbook.training.plan.measure import count_parameters
from openbook.training.plan.plan import Plan, format_gigaflops, measure_speed, plan_training, with_precision
from openbook.training.plan.rules import Rules, bytes_per_token
from openbook.training.recipe import FIELDS, make_recipe
from openbook.transformer.architecture import Architecture

OPEN = (
    "minutes", "steps", "context", "optimizer", "batch_tokens", "micro_batch_size", "matrix_lr", "adamw_lr",
    "embedding_lr", "lm_head_lr", "norm_lr", "relative_lr", "muon_momentum", "adamw_betas", "weight_decay", "dropout",
    "bpe_dropout", "warmup_steps", "lr_schedule", "decay_fraction", "min_lr_ratio", "max_grad_norm", "ema_decay",
    "gradient_checkpointing", "document_mask", "validations", "validation_tokens", "validation_translations",
    "patience", "precision", "seed", "label_smoothing",
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


@dataclass(frozen=True)
class BaseModel:
    """What is fine-tuned: all weights of this architecture, or LoRA matrices."""

    architecture: Architecture
    lora: bool = False


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
) -> Plan:
    """Choose every field that is not given, for fine-tuning.

    Args:
        rules: the amount of data and its rules.
        given: choices by name (see `Recipe`); they are kept.
        base: what is fine-tuned.
        device: where to train; its speed is measured here.
        used: seconds of the budget that have passed.
        epochs: how many to train if no minutes are given; None: for the time that a new model would get.

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
    plan = plan_training(
        {**architecture_choices(architecture), "context": context, **SMALL_RATES, **(LORA_RATES if base.lora else {})},
        tokens,
        epoch_tokens,
        minutes,
        {"batch_tokens": max(context, rules.fine_tuning_batch(tokens)), **given},
        max_replicas(count_parameters(architecture), device),
        rules.fine_tuning_regularization,
    )
    measured = f"{format_gigaflops(speed.flops(architecture))} GFLOP/s, measured"
    reasons = {"layers": f"the base model's; {measured}", **plan.reasons}
    recipe = with_precision(plan.recipe, speed.dtype)
    expected, step_seconds = used + plan.tokens * token_seconds, recipe.batch_tokens * token_seconds
    return replace(plan, recipe=recipe, reasons=reasons, seconds=expected, step_seconds=step_seconds)


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
