"""One knob: from the text, the measured speed and the minutes to every choice of a run, each with its reason.

The size is the one with the least predicted loss, by a law of the form of Hoffmann et al. 2022 (eq. 10),
loss = E + A / parameters^α + B / tokens^β, where tokens beyond the first epochs count for less (Muennighoff et al.
2023, eq. 5). Its constants, and the rules for the rest, were fitted to runs of 15 seconds to 20 minutes; the runs are
in benchmarks/README.md.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from openbook.errors import OpenbookError
from openbook.text.tokenizer_training import choose_vocabulary
from openbook.training.measure import Speed, choose_precision, count_parameters
from openbook.training.recipe import Recipe, build_architecture, make_recipe
from openbook.transformer.architecture import Architecture

SHAPES = (
    (2, 64), (3, 128), (4, 128), (4, 192), (5, 256), (6, 256), (6, 320), (6, 384), (8, 512), (10, 640), (12, 768),
    (16, 1024), (24, 1024), (24, 1536), (32, 2048),
)  # fmt: skip
"""(layers, width) from small to large."""


RATES = ("matrix_rate", "adamw_rate", "embedding_rate", "logits_rate", "vector_rate")
SIZES = ("layers", "width", "heads", "key_value_heads", "head_width", "feed_forward_width")


@dataclass(frozen=True)
class Text:
    """How much text there is to learn from."""

    train_bytes: int
    validation_bytes: int


@dataclass(frozen=True)
class Plan:
    """What was picked, and why."""

    recipe: Recipe
    reasons: Mapping[str, str]
    tokens: float
    """Expected tokens to learn from, all epochs together."""
    epochs: float
    seconds: float
    """Expected time of the whole run."""


def default_minutes(text: Text) -> float:
    """Two minutes for up to a megabyte of text, then in proportion to its square root, at most two hours."""
    return float(min(120, max(2, round(2 * math.sqrt(text.train_bytes / 1e6)))))


def bytes_a_token(vocabulary: int, kind: str) -> float:
    """Bytes of text that one token covers, roughly, before there is a tokenizer to ask."""
    if kind == "bpe":
        return 0.46 * math.log2(vocabulary) - 1.8
    return {"bytes": 1.0, "characters": 1.02}.get(kind, 4.5)


def predicted_loss(size: float, tokens: float, unique: float) -> float:
    """Bits a byte to expect from `size` parameters after `tokens` tokens, `unique` of which differ."""
    epochs = max(0.0, tokens / unique - 1)
    useful = min(tokens, unique) + unique * 8 * (1 - math.exp(-epochs / 8)) * (epochs > 0)
    return 1.05 + 18.0 / size**0.27 + 90.0 / useful**0.39


def shape_choices(layers: int, width: int, given: Mapping[str, Any]) -> dict[str, Any]:
    """All sizes that follow from layers and width, where they are not given."""
    head = given.get("head_width", min(64, width))
    heads = given.get("heads", max(1, width // head))
    hidden = 32 * max(1, round(width * 8 / 3 / 32))
    return {
        "layers": layers,
        "width": width,
        "head_width": head,
        "heads": heads,
        "key_value_heads": given.get("key_value_heads", heads),
        "feed_forward_width": given.get("feed_forward_width", hidden if given.get("gated", True) else 4 * width),
    }


def make_plan(text: Text, given: Mapping[str, Any], device: torch.device, used: float, reserve: float = 0.0) -> Plan:
    """Pick every choice that is not given, for a new model.

    Args:
        text: how much there is.
        given: choices by name (see `Recipe`); they are kept.
        device: where to train; its speed is measured here.
        used: seconds of the budget that are gone already.
        reserve: seconds to keep for the end.

    Raises:
        OpenbookError: a given choice is out of range.
    """
    make_recipe(given)
    minutes = given.get("minutes") or default_minutes(text)
    kind = given.get("tokenizer", "bpe")
    base = {"vocabulary": pick_vocabulary(text, kind), **given}
    seconds = max(1.0, minutes * 60 - used - reserve)
    unique = max(1.0, text.train_bytes / bytes_a_token(base["vocabulary"], kind))
    context = base["context"] = given.get("context", pick_context(unique))

    sizes = [
        base | shape_choices(given.get("layers", layers), given.get("width", width), given) for layers, width in SHAPES
    ]
    shapes = [build_architecture(make_recipe(size | {"batch_tokens": context})) for size in sizes]
    rows = max(1, 2048 // context)
    patience = min(4.0, 0.01 * seconds)
    dtype = choose_precision(given.get("precision", "auto"), shapes[2], context, rows, device, patience)
    speed = Speed(context, rows, device, dtype)
    speed.add(shapes[2], patience / 2)
    best, least = 0, math.inf
    for number, shape in enumerate(shapes):
        # A size that takes too long even to try is judged by the one before it.
        if number > 2 and 2 * rows * context * speed.seconds_a_token(shape) < patience:
            speed.add(shape, patience / 2)
        loss = predicted_loss(count_parameters(shape), seconds / speed.seconds_a_token(shape), unique)
        if loss > least:
            break
        best, least = number, loss
    tokens = seconds / speed.seconds_a_token(shapes[best])
    why_size = f"least predicted loss at {speed.rate(shapes[best]) / 1e9:.0f} GFLOP/s, measured"
    plan = plan_learning(base | sizes[best], tokens, unique, minutes, given)
    reasons = {"layers": why_size, "vocabulary": f"for {text.train_bytes / 1e6:.2g} MB of text", **plan.reasons}
    expected = used + plan.tokens * speed.seconds_a_token(shapes[best]) + reserve
    recipe = replace(plan.recipe, precision="bfloat16" if dtype == torch.bfloat16 else "float32")
    return replace(plan, recipe=recipe, reasons=reasons, seconds=expected)


def plan_continuation(
    text: Text, given: Mapping[str, Any], architecture: Architecture, device: torch.device, used: float
) -> Plan:
    """Pick every choice that is not given, to go on from a model: its architecture stays, rates are a fifth.

    Arguments and errors as for `make_plan`.
    """
    for name in ("tokenizer", "vocabulary", *SIZES):
        if name in given:
            raise OpenbookError(f"--{name.replace('_', '-')}: a model that is gone on from keeps its own")
    make_recipe(given)
    minutes = given.get("minutes") or default_minutes(text)
    seconds = max(1.0, minutes * 60 - used)
    unique = max(1.0, text.train_bytes / bytes_a_token(architecture.vocabulary, "bpe"))
    context = given.get("context", min(architecture.context, pick_context(unique)))
    rows, patience = max(1, 1024 // context), min(4.0, 0.01 * seconds)
    dtype = choose_precision(given.get("precision", "auto"), architecture, context, rows, device, patience)
    speed = Speed(context, rows, device, dtype)
    speed.add(architecture, patience)
    each = speed.seconds_a_token(architecture)
    sizes = sizes_of(architecture) | {"context": context}
    gentle = {name: getattr(Recipe, name) / 5 for name in RATES}
    plan = plan_learning(sizes | gentle, seconds / each, unique, minutes, given)
    recipe = replace(plan.recipe, precision="bfloat16" if dtype == torch.bfloat16 else "float32")
    return replace(plan, recipe=recipe, seconds=used + plan.tokens * each)


def sizes_of(architecture: Architecture) -> dict[str, Any]:
    """What a recipe says of a model's size."""
    first = architecture.decoder.blocks[0]
    return {
        "vocabulary": architecture.vocabulary,
        "layers": len(architecture.decoder.blocks),
        "width": architecture.width,
        "heads": first.attention.heads,
        "key_value_heads": first.attention.key_value_heads,
        "head_width": first.attention.head_width,
        "feed_forward_width": first.feed_forward.width,
    }


def plan_learning(
    sizes: Mapping[str, Any], tokens: float, unique: float, minutes: float, given: Mapping[str, Any]
) -> Plan:
    """Pick what does not depend on the machine: batch, regularisation, rates.

    Args:
        sizes: the model's choices.
        tokens: how many the budget allows to learn from.
        unique: how many the text has.
        minutes: the budget.
        given: choices that are kept.
    """
    batch = given.get("batch_tokens", max(sizes["context"], pick_batch(tokens)))
    if given.get("steps"):
        tokens = given["steps"] * batch
    epochs = tokens / unique
    # Few validations in a short run, and all together about 3 % of its time.
    validations = int(min(20, max(4, math.sqrt(tokens / 10_000))))
    picked: dict[str, Any] = {
        "batch_tokens": batch,
        "rows_at_once": max(1, min(batch, 4096) // sizes["context"]),
        "dropout": pick_dropout(epochs),
        "validations": validations,
        "validation_tokens": max(4096, int(0.08 * tokens / validations)),
    }
    choices = dict(sizes) | picked | dict(given)
    if not given.get("steps"):
        choices["minutes"] = minutes
    reasons = {"batch_tokens": f"{tokens / batch:,.0f} updates", "dropout": f"the text is read {epochs:.1f} times"}
    return Plan(make_recipe(choices), reasons, tokens, epochs, minutes * 60)


def pick_vocabulary(text: Text, kind: str) -> int:
    """Vocabulary from the amount of text."""
    return choose_vocabulary(text.train_bytes, kind)  # type: ignore[arg-type]


def pick_context(unique: float) -> int:
    """256 tokens, fewer where the text has hardly any."""
    return int(min(256, 2 ** max(3, math.floor(math.log2(max(8.0, unique / 8))))))


def pick_batch(tokens: float) -> int:
    """Tokens an update: the power of two next to 4·√tokens, from 1,024 to 524,288."""
    return int(2 ** min(19, max(10, round(math.log2(4 * math.sqrt(tokens))))))


def pick_dropout(epochs: float) -> float:
    """None while the text is new; more the oftener it is read."""
    return 0.0 if epochs < 3 else 0.1 if epochs < 8 else 0.2
