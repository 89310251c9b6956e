"""The plan of going on from a model: its architecture stays, and what it knows already is changed gently."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from openbook.errors import OpenbookError
from openbook.training.data_parallel import max_replicas
from openbook.training.plan.measure import count_parameters
from openbook.training.plan.plan import (
    Plan,
    Text,
    bytes_per_token,
    default_minutes,
    fitting_context,
    in_precision,
    measured,
    pick_batch,
    plan_learning,
)
from openbook.training.recipe import FIELDS, make_recipe
from openbook.transformer.architecture import Architecture

LEARNING = (
    "minutes", "steps", "context", "optimizer", "batch_tokens", "micro_batch_size", "matrix_lr", "adamw_lr",
    "embedding_lr", "lm_head_lr", "norm_lr", "relative_lr", "muon_momentum", "adamw_betas", "weight_decay", "dropout",
    "bpe_dropout", "warmup_steps", "lr_schedule", "decay_fraction", "min_lr_ratio", "max_grad_norm", "ema_decay",
    "gradient_checkpointing", "document_mask", "validations", "validation_tokens", "validation_translations",
    "patience", "precision", "seed", "label_smoothing",
)  # fmt: skip
"""Choices that a model which is gone on from leaves open."""

GENTLE: Mapping[str, Any] = {
    "optimizer": "adamw",
    "relative_lr": True,
    "adamw_lr": 8e-4,
    "embedding_lr": 8e-4,
    "lm_head_lr": 8e-4,
    "norm_lr": 8e-4,
    "decay_fraction": 0.9,
}
"""AdamW, whose rates are shares of each tensor's own size.

Muon's own products would take as long as the rest of an update, since a large model sees few tokens in it here.
"""

LORA: Mapping[str, Any] = {"adamw_lr": 2e-3}
"""A low-rank change begins at nothing; its rate is that of the numbers themselves."""

CONTEXT = 512
"""Tokens of a window, if the model sees as many: more than a new one's, since it knows how to use them already."""


def check_kept(given: Mapping[str, Any]) -> None:
    """Raises OpenbookError for a choice that is out of range, or that a model to go on from has made already."""
    for name in FIELDS:
        if name in given and name not in LEARNING:
            raise OpenbookError(f"--{name.replace('_', '-')}: a model that is gone on from keeps its own")
    make_recipe(given)


def plan_continuation(
    text: Text,
    given: Mapping[str, Any],
    architecture: Architecture,
    device: torch.device,
    used: float,
    lora: bool = False,
    readings: int | None = None,
) -> Plan:
    """Pick every choice that is not given, to go on from a model.

    Args:
        text: how much there is.
        given: choices by name (see `Recipe`); they are kept.
        architecture: of the model.
        device: where to train; its speed is measured here.
        used: seconds of the budget that are gone already.
        lora: whether low-rank changes are learned, not the weights themselves.
        readings: how often the text is read where no minutes are given; None: as long as a new model would read it.

    Raises:
        OpenbookError: a given choice is out of range, or the model's own.
    """
    check_kept(given)
    unique = max(1.0, text.train_bytes / bytes_per_token(architecture.vocab_size, "bpe"))
    context = given.get("context", min(architecture.context, fitting_context(unique, CONTEXT)))
    if context > architecture.context:
        raise OpenbookError(f"--context {context}: the model sees at most {architecture.context} tokens")
    minutes = given.get("minutes") or default_minutes(text)
    speed = measured(architecture, context, device, minutes * 60, given.get("precision", "auto"))
    each = speed.seconds_per_token(architecture)
    if readings and not given.get("minutes"):
        minutes = float(min(120, max(2, round((used + readings * unique * each) / 60))))
    sizes = {**sizes_of(architecture), "context": context, **GENTLE, **(LORA if lora else {})}
    tokens = max(1.0, minutes * 60 - used) / each
    parts = max_replicas(count_parameters(architecture), device)
    # Half of what a new model takes: a large one gets few updates here, and little slower when they are small.
    given = {"batch_tokens": max(context, pick_batch(tokens / 4, least=256)), **given}
    # Models of today were trained without dropout.
    plan = plan_learning(sizes, tokens, unique, minutes, given, parts, lambda epochs: {"dropout": 0.0})
    reasons = {"layers": f"the model's own; {speed.rate(architecture) / 1e9:.0f} GFLOP/s, measured", **plan.reasons}
    recipe = in_precision(plan.recipe, speed.dtype)
    return replace(plan, recipe=recipe, reasons=reasons, seconds=used + plan.tokens * each)


def sizes_of(architecture: Architecture) -> dict[str, Any]:
    """What a recipe says of a model's size."""
    first = architecture.decoder.blocks[0]
    return {
        "vocab_size": architecture.vocab_size,
        "layers": len(architecture.decoder.blocks),
        "width": architecture.width,
        "heads": first.attention.heads,
        "key_value_heads": first.attention.key_value_heads,
        "head_width": first.attention.head_width,
        "feed_forward_width": first.feed_forward.width,
    }
