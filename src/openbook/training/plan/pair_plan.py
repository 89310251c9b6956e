"""One knob for pairs: from how many there are, the measured speed and the minutes to every choice of a run.

It works as `plan` does for books. `SIZES` and the rules come from runs of up to 20 minutes on two processors, which
stand in benchmarks/README.md; beyond those they are a guess.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from openbook.errors import OpenbookError
from openbook.text.tokenizer.training import choose_vocab_size
from openbook.training.data_parallel import max_replicas
from openbook.training.plan.fine_tuning import GENTLE, check_kept, sizes_of
from openbook.training.plan.measure import Speed, choose_precision, count_parameters
from openbook.training.plan.memory import check_memory, save_memory
from openbook.training.plan.plan import (
    PROBE,
    Plan,
    Text,
    bytes_per_token,
    default_minutes,
    in_precision,
    largest_that_pays,
    plan_learning,
    shape_choices,
    tokens_in,
)
from openbook.training.recipe import PAIR_DEFAULTS, build_architecture, make_recipe
from openbook.transformer.architecture import Architecture

SIZES = (
    (2, 1, 128, 0), (3, 2, 192, 6e5), (4, 3, 256, 5e6), (6, 4, 384, 2e7), (6, 6, 512, 1e8), (8, 8, 768, 1e9),
)  # fmt: skip
"""(layers of the encoder, of the decoder, width, target tokens that make it worth its time), from small to large."""

SMOOTHING = 0.1


@dataclass(frozen=True)
class Amount:
    """How much there is to learn from."""

    pairs: int
    source_bytes: int
    target_bytes: int
    long: float
    """Bytes of the longer side that all but one in 200 pairs stay below."""

    @property
    def text(self) -> Text:
        """The same as an amount of text."""
        return Text(self.source_bytes + self.target_bytes, 0)


def make_pair_plan(amount: Amount, given: Mapping[str, Any], device: torch.device, used: float) -> Plan:
    """Pick every choice that is not given, for a new model.

    With `encoder_layers` of 0 the model is decoder-only and reads source and target as one row.

    Args:
        amount: how much there is.
        given: choices by name (see `Recipe`); they are kept.
        device: where to train; its speed is measured here.
        used: seconds of the budget that are gone already.

    Raises:
        OpenbookError: a given choice is out of range, or what is given does not fit into memory.
    """
    apart = given.get("encoder_layers") != 0
    make_recipe((PAIR_DEFAULTS if apart else {}) | dict(given))
    minutes = given.get("minutes") or default_minutes(amount.text)
    seconds = max(1.0, minutes * 60 - used)
    kind = given.get("tokenizer", "bpe")
    vocabulary = given.get("vocab_size", pick_vocabulary(amount, kind))
    each = bytes_per_token(vocabulary, kind)
    context = given.get("context", pick_context(amount, each, apart))
    base = (PAIR_DEFAULTS if apart else {}) | {
        "vocab_size": vocabulary,
        "context": context,
        "label_smoothing": SMOOTHING,
        **given,
    }
    sizes = [
        base
        | shape_choices(
            given.get("layers", layers if apart else encoding + layers),
            given.get("width", width),
            head_choices(given.get("width", width), apart and "heads" not in given) | dict(given),
        )
        | {"encoder_layers": given.get("encoder_layers", encoding)}
        for encoding, layers, width, _ in SIZES
    ]
    recipes = [make_recipe(size | {"batch_tokens": context, "micro_batch_size": 1}) for size in sizes]
    least = build_architecture(recipes[0])
    check_memory(least, save_memory(least, recipes[0], given))
    shapes = [build_architecture(recipe) for recipe in recipes]
    speed = measured(shapes[PROBE], amount, each, device, seconds, given.get("precision", "auto"))
    unique = amount.target_bytes / each
    best = largest_that_pays(shapes, recipes, [needed for *_, needed in SIZES], speed, seconds, unique)
    parts = max_replicas(count_parameters(shapes[best]), device)
    tokens = tokens_in(seconds, shapes[best], speed)
    plan = learning(sizes[best], tokens, unique, minutes, given, parts)
    reasons = {
        "layers": f"the largest that pays at {speed.rate(shapes[best]) / 1e9:.0f} GFLOP/s, measured",
        "vocab_size": f"for {amount.pairs:,} pairs",
        **plan.reasons,
    }
    expected = used + seconds * plan.tokens / tokens
    return replace(plan, recipe=in_precision(plan.recipe, speed.dtype), reasons=reasons, seconds=expected)


def head_choices(width: int, free: bool) -> dict[str, Any]:
    """Four heads up to width 128, where there is an encoder and the choice is free: two learn letters more slowly."""
    return {"head_width": max(1, width // 4)} if free and width <= 128 else {}


def plan_pair_continuation(
    amount: Amount, given: Mapping[str, Any], architecture: Architecture, device: torch.device, used: float
) -> Plan:
    """Pick every choice that is not given, to go on from a model: its architecture stays.

    Arguments and errors as for `make_pair_plan`.
    """
    check_kept(given)
    minutes = given.get("minutes") or default_minutes(amount.text)
    seconds = max(1.0, minutes * 60 - used)
    each = bytes_per_token(architecture.vocab_size, "bpe")
    apart = architecture.encoder is not None
    context = given.get("context", min(architecture.context, pick_context(amount, each, apart)))
    if context > architecture.context:
        raise OpenbookError(f"--context {context}: the model sees at most {architecture.context} tokens")
    speed = measured(architecture, amount, each, device, seconds, given.get("precision", "auto"))
    sizes = {**sizes_of(architecture), "context": context, "label_smoothing": SMOOTHING, **GENTLE}
    sizes["encoder_layers"] = len(architecture.encoder.blocks) if architecture.encoder is not None else 0
    a_token = speed.seconds_per_token(architecture)
    parts = max_replicas(count_parameters(architecture), device)
    plan = learning(sizes, seconds / a_token, amount.target_bytes / each, minutes, given, parts)
    reasons = {"layers": f"the model's own; {speed.rate(architecture) / 1e9:.0f} GFLOP/s, measured", **plan.reasons}
    recipe = in_precision(plan.recipe, speed.dtype)
    return replace(plan, recipe=recipe, reasons=reasons, seconds=used + plan.tokens * a_token)


def learning(
    sizes: Mapping[str, Any], tokens: float, unique: float, minutes: float, given: Mapping[str, Any], parts: int
) -> Plan:
    """What does not depend on the machine, as for books, with the dropout of pairs."""
    plan = plan_learning(sizes, tokens, unique, minutes, given, parts, lambda epochs: {"dropout": pick_dropout(epochs)})
    return replace(plan, reasons=dict(plan.reasons) | {"dropout": f"the pairs are read {plan.epochs:.1f} times"})


def measured(
    shape: Architecture, amount: Amount, each: float, device: torch.device, seconds: float, precision: str
) -> Speed:
    """The speed of one size on pairs of the usual length, and the precision to take."""
    patience = min(4.0, 0.01 * seconds)
    length = max(4, min(shape.context, round(amount.target_bytes / each / max(1, amount.pairs))))
    if shape.encoder is None:
        length = min(shape.context, 2 * length)
    rows = max(1, 1024 // length)
    speed = Speed(length, rows, device, choose_precision(precision, shape, length, rows, device, patience))
    speed.add(shape, patience / 2)
    return speed


def pick_vocabulary(amount: Amount, kind: str) -> int:
    """Half of what books of so many bytes would get: two languages share it, and rare words are copied in pieces."""
    size = choose_vocab_size(amount.text.train_bytes, kind)  # type: ignore[arg-type]
    return max(512, size // 2) if kind in ("bpe", "unigram") else size


def pick_context(amount: Amount, each: float, apart: bool) -> int:
    """A power of two with ample room: how many tokens a sentence makes is a guess, and room costs no time here."""
    wanted = 2.5 * amount.long / each * (1 if apart else 2) + 2
    return int(2 ** min(12, max(6, math.ceil(math.log2(wanted)))))


def pick_dropout(epochs: float) -> float:
    """More the oftener the pairs are read."""
    return 0.0 if epochs < 2 else 0.1 if epochs < 12 else 0.2 if epochs < 30 else 0.3
