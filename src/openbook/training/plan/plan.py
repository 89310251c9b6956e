"""One knob: from the data, the measured speed and the minutes to every field of the recipe, each with its reason.

A larger model learns more from each token and sees fewer tokens in the time. `Rules.SIZES` says from how many tokens on
a size pays; the plan takes the largest size that sees as many in the time, at the speed measured here.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch

from openbook.text.formatting import format_count
from openbook.training.data_parallel import MIN_TOKENS, max_replicas
from openbook.training.group import current_group
from openbook.training.plan.measure import Speed, choose_precision, count_parameters, muon_flops
from openbook.training.plan.memory import check_memory, fits_in_memory, save_memory
from openbook.training.plan.rules import Rules, batch_size, bytes_per_token
from openbook.training.recipe import Recipe, build_architecture, make_recipe
from openbook.transformer.architecture import Architecture

MEASURED_SIZE = 1
"""Index of the size whose speed is measured first, from a minute on; in less time the smallest one is."""


@dataclass(frozen=True)
class Plan:
    """What was chosen, and why."""

    recipe: Recipe
    reasons: Mapping[str, str]
    tokens: float
    """Expected tokens to train on, all epochs together."""
    epochs: float
    seconds: float
    """Expected time of the whole run."""
    step_seconds: float = 0.0
    """Expected time of a step; 0 where none was measured."""


class Candidate(NamedTuple):
    """A size of model that the plan considers."""

    choices: Mapping[str, Any]
    recipe: Recipe
    architecture: Architecture
    tokens: float
    """Tokens to train on that make it worth its time."""


def make_plan(rules: Rules, given: Mapping[str, Any], device: torch.device, used: float) -> Plan:
    """Choose every field that is not given, for a new model.

    With `encoder_layers` of 0, a model of pairs is decoder-only and reads source and target as one sequence.

    Args:
        rules: the amount of data and its rules.
        given: choices by name (see `Recipe`); they are kept.
        device: where to train; its speed is measured here.
        used: seconds of the budget that have passed.

    Raises:
        OpenbookError: a given choice is out of range, or what is given does not fit in memory.
    """
    has_encoder = given.get("encoder_layers") != 0
    defaults = rules.defaults(has_encoder)
    make_recipe(defaults | dict(given))
    minutes = given.get("minutes") or rules.default_minutes()
    seconds = max(1.0, minutes * 60 - used)
    tokenizer = given.get("tokenizer", "bpe")
    vocab_size = given.get("vocab_size", rules.vocab_size(tokenizer))
    token_bytes = bytes_per_token(vocab_size, tokenizer)
    context = given.get("context", rules.context(token_bytes, seconds, has_encoder))
    candidates = _candidates(rules, defaults | {"vocab_size": vocab_size, "context": context, **given}, given)
    _check_smallest(candidates[0], given)
    first = MEASURED_SIZE if seconds >= 60 else 0
    measured = candidates[first].architecture
    length, rows = rules.measured_batch(measured, context, token_bytes)
    speed = measure_speed(measured, length, rows, device, seconds, given.get("precision", "auto"))
    epoch_tokens = rules.epoch_tokens(token_bytes)
    best = largest_that_pays(candidates, speed, seconds, epoch_tokens, first)
    tokens = tokens_in(seconds, best.architecture, speed)
    plan = plan_training(
        best.choices,
        tokens,
        epoch_tokens,
        minutes,
        given,
        current_group().size * max_replicas(count_parameters(best.architecture), device),
        lambda epochs: rules.regularization(epochs, given),
    )
    reasons = {
        "layers": size_reason(given, speed.flops(best.architecture)),
        "vocab_size": f"for {rules.amount}",
        **plan.reasons,
    }
    expected = used + seconds * plan.tokens / tokens
    recipe = with_precision(plan.recipe, speed.dtype)
    step_seconds = recipe.batch_tokens * seconds / tokens
    return replace(plan, recipe=recipe, reasons=reasons, seconds=expected, step_seconds=step_seconds)


def size_reason(given: Mapping[str, Any], flops: float) -> str:
    """Why the model has its size."""
    speed = f"{format_gigaflops(flops)} GFLOP/s, measured"
    sizes = [name for name in ("layers", "width") if name in given]
    if len(sizes) == 2:
        return f"layers and width given; {speed}"
    return "".join(f"{name} given, " for name in sizes) + f"the largest that pays at {speed}"


def format_gigaflops(flops: float) -> str:
    """A speed in billions: two digits at least."""
    return f"{flops / 1e9:,.0f}" if flops >= 1e10 else f"{flops / 1e9:.2g}"


def format_epochs(epochs: float) -> str:
    """How often the data is read: 1.3 epochs, 2,071 epochs."""
    return f"{epochs:.1f} epochs" if epochs < 100 else f"{epochs:,.0f} epochs"


def _candidates(rules: Rules, base: Mapping[str, Any], given: Mapping[str, Any]) -> list[Candidate]:
    """All sizes, from small to large."""
    candidates = []
    for size in rules.SIZES:
        choices = {**base, **rules.shape(size, given)}
        recipe = make_recipe(choices | {"batch_tokens": base["context"], "micro_batch_size": 1})
        candidates.append(Candidate(choices, recipe, build_architecture(recipe), size.tokens))
    return candidates


def _check_smallest(smallest: Candidate, given: Mapping[str, Any]) -> None:
    """Refuse choices that do not fit in memory even at the smallest size, before any is measured."""
    recipe = replace(smallest.recipe, micro_batch_size=given.get("micro_batch_size", 1))
    check_memory(smallest.architecture, save_memory(smallest.architecture, recipe, given))


def largest_that_pays(
    candidates: Sequence[Candidate], speed: Speed, seconds: float, epoch_tokens: float, measured: int = MEASURED_SIZE
) -> Candidate:
    """The largest size that sees the tokens it needs in the time; larger sizes are measured on the way.

    Args:
        candidates: from small to large.
        speed: what is measured; it is added to.
        seconds: the time.
        epoch_tokens: tokens of an epoch.
        measured: the number of the candidate that `speed` knows.
    """
    best = candidates[0]
    for number, candidate in enumerate(candidates[1:], start=1):
        architecture = candidate.architecture
        patience = 0.004 * seconds
        step_seconds = speed.rows * speed.length * speed.seconds_per_token(architecture)
        new = number > measured and architecture != candidates[number - 1].architecture
        if new and 2 * step_seconds < patience:
            speed.measure(architecture, patience)
        pays = tokens_in(seconds, architecture, speed) >= candidate.tokens
        if not pays or memorizes(epoch_tokens, architecture) or not fits_in_memory(architecture, candidate.recipe):
            break
        best = candidate
    return best


def tokens_in(seconds: float, architecture: Architecture, speed: Speed) -> float:
    """How many tokens a new model trains on in the time, Muon's matrix products included.

    A tenth of the time goes to validation, samples and the final evaluation.
    """
    seconds *= 0.9
    token_seconds = speed.seconds_per_token(architecture)
    # Every machine of a group orthogonalizes all matrices, while a micro-batch is computed by one of them.
    machines = current_group().size / current_group().local_size
    muon_seconds = machines * muon_flops(architecture) / speed.flops(architecture)
    tokens = seconds / token_seconds
    for _ in range(3):  # more tokens mean larger steps
        tokens = seconds / (token_seconds + muon_seconds / batch_size(tokens))
    return tokens


def measure_speed(
    architecture: Architecture, length: int, rows: int, device: torch.device, seconds: float, precision: str
) -> Speed:
    """Measure one size in about a hundredth of the time, and choose the precision.

    Args:
        architecture: the size.
        length: tokens of a sequence.
        rows: sequences of a batch.
        device: where to train.
        seconds: the time.
        precision: auto, float32 or bfloat16.
    """
    patience = min(4.0, 0.01 * seconds)
    dtype, taken = choose_precision(precision, architecture, length, rows, device, patience)
    speed = Speed(length, rows, device, dtype)
    if taken is None:
        speed.measure(architecture, patience / 2)
    else:
        speed.add(architecture, taken)
    return speed


def with_precision(recipe: Recipe, dtype: torch.dtype) -> Recipe:
    """The recipe with the precision that was chosen."""
    return replace(recipe, precision="bfloat16" if dtype == torch.bfloat16 else "float32")


def plan_training(
    sizes: Mapping[str, Any],
    tokens: float,
    epoch_tokens: float,
    minutes: float,
    given: Mapping[str, Any],
    replicas: int,
    regularization: Callable[[float], Mapping[str, Any]],
) -> Plan:
    """Choose what does not depend on the machine's speed: batch, regularization, validation.

    Args:
        sizes: the model's choices.
        tokens: how many the budget allows to train on.
        epoch_tokens: tokens of an epoch.
        minutes: the budget.
        given: choices that are kept.
        replicas: how many micro-batches can run at once.
        regularization: the choices for so many epochs.
    """
    batch = given.get("batch_tokens", max(sizes["context"], batch_size(tokens)))
    if given.get("steps"):
        tokens = given["steps"] * batch
    epochs = tokens / epoch_tokens
    # Few validations in a short run, and about 3 % of the time for all of them.
    validations = int(min(20, max(2, math.sqrt(tokens / 10_000))))
    # More than 2,048 tokens do not stay in the cache.
    micro_batch_tokens = min(max(MIN_TOKENS, batch // replicas), batch, 2048)
    chosen: dict[str, Any] = {
        "batch_tokens": batch,
        "micro_batch_size": max(1, micro_batch_tokens // sizes["context"]),
        **regularization(epochs),
        "validations": validations,
        "validation_tokens": max(2 * batch, int(min(2**26, 0.08 * tokens / validations))),
    }
    choices = dict(sizes) | chosen | dict(given)
    if not given.get("steps"):
        choices["minutes"] = minutes
    reasons = {"batch_tokens": format_count(round(tokens / batch), "step"), "dropout": format_epochs(epochs)}
    return Plan(make_recipe(choices), reasons, tokens, epochs, minutes * 60)


def memorizes(epoch_tokens: float, architecture: Architecture) -> bool:
    """Whether the blocks have over 20 parameters per token of the data: such a model soon memorizes it."""
    tables = (2 - architecture.tied_embeddings) * architecture.vocab_size * architecture.width
    return count_parameters(architecture) - tables > 20 * epoch_tokens
