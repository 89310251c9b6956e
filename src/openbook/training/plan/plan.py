"""One knob: from the text, the measured speed and the minutes to every choice of a run, each with its reason.

A larger model learns more from each token and fewer tokens in the time. `SIZES` says from how many tokens on a size
pays; the largest one that gets as many in the time, at the speed measured here, is taken. The table and the rules for
the rest come from runs of 15 seconds to 20 minutes, which stand in benchmarks/README.md; beyond those they are a guess.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from openbook.text.tokenizer.training import choose_vocab_size
from openbook.training.data_parallel import MAX_PARAMETERS, MIN_TOKENS, max_replicas
from openbook.training.plan.measure import Speed, choose_precision, count_parameters, orthogonalizing_operations
from openbook.training.plan.memory import fits_in_memory
from openbook.training.recipe import Recipe, build_architecture, make_recipe
from openbook.transformer.architecture import Architecture

SIZES = (
    (2, 128, 0), (3, 192, 4e5), (4, 192, 8e5), (4, 256, 2e6), (6, 256, 3e6), (6, 320, 4e6), (6, 384, 8e6),
    (8, 512, 4e7), (10, 640, 1e8), (12, 768, 3e8), (16, 1024, 1e9), (24, 1536, 5e9),
)  # fmt: skip
"""(layers, width, tokens to learn from that make it worth its time), from small to large."""

PROBE = 1
"""The size whose steps are timed first."""


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


def bytes_per_token(vocab_size: int, kind: str) -> float:
    """Bytes of text that one token covers, roughly, before there is a tokenizer to ask."""
    if kind in ("bpe", "unigram"):
        return max(1.0, 0.46 * math.log2(vocab_size) - 1.8)
    return {"bytes": 1.0, "characters": 1.02}.get(kind, 4.5)


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


def make_plan(text: Text, given: Mapping[str, Any], device: torch.device, used: float) -> Plan:
    """Pick every choice that is not given, for a new model.

    Args:
        text: how much there is.
        given: choices by name (see `Recipe`); they are kept.
        device: where to train; its speed is measured here.
        used: seconds of the budget that are gone already.

    Raises:
        OpenbookError: a given choice is out of range.
    """
    make_recipe(given)
    minutes = given.get("minutes") or default_minutes(text)
    seconds = max(1.0, minutes * 60 - used)
    kind = given.get("tokenizer", "bpe")
    vocabulary = given.get("vocab_size", choose_vocab_size(text.train_bytes, kind))
    unique = max(1.0, text.train_bytes / bytes_per_token(vocabulary, kind))
    base = {"vocab_size": vocabulary, "context": pick_context(unique, seconds), **given}

    sizes = [
        base | shape_choices(given.get("layers", layers), given.get("width", width), given)
        for layers, width, _ in SIZES
    ]
    recipes = [make_recipe(size | {"batch_tokens": base["context"], "micro_batch_size": 1}) for size in sizes]
    shapes = [build_architecture(recipe) for recipe in recipes]
    speed = measured(shapes[PROBE], base["context"], device, seconds, given.get("precision", "auto"))
    best = largest_that_pays(shapes, recipes, [needed for *_, needed in SIZES], speed, seconds, unique)
    tokens = tokens_in(seconds, shapes[best], speed)
    parts = max_replicas(count_parameters(shapes[best]), device)
    plan = plan_learning(
        sizes[best], tokens, unique, minutes, given, parts, lambda epochs: pick_regularization(epochs, kind, given)
    )
    reasons = {
        "layers": f"the largest that pays at {speed.rate(shapes[best]) / 1e9:.0f} GFLOP/s, measured",
        "vocab_size": f"for {text.train_bytes / 1e6:.2g} MB of text",
        **plan.reasons,
    }
    expected = used + seconds * plan.tokens / tokens
    return replace(plan, recipe=in_precision(plan.recipe, speed.dtype), reasons=reasons, seconds=expected)


def largest_that_pays(
    shapes: Sequence[Architecture],
    recipes: Sequence[Recipe],
    needed: Sequence[float],
    speed: Speed,
    seconds: float,
    unique: float,
) -> int:
    """The number of the largest size that gets the tokens it needs in the time; larger ones are measured on the way.

    Args:
        shapes: from small to large; `speed` knows that of number `PROBE`.
        recipes: those of the shapes.
        needed: tokens to learn from that make each worth its time.
        speed: what was measured; it is added to.
        seconds: the time.
        unique: tokens that the text has.
    """
    best = 0
    for number, shape in enumerate(shapes[1:], start=1):
        patience = 0.004 * seconds
        step = speed.rows * speed.context * speed.seconds_per_token(shape)
        if number > PROBE and shape != shapes[number - 1] and 2 * step < patience:
            speed.add(shape, patience)
        pays = tokens_in(seconds, shape, speed) >= needed[number]
        if not pays or too_large_for(unique, shape) or not fits_in_memory(shape, recipes[number]):
            break
        best = number
    return best


def tokens_in(seconds: float, architecture: Architecture, speed: Speed) -> float:
    """How many tokens a new model learns from in the time, with what Muon multiplies in each update.

    A tenth of the time goes to validation, samples and the last score.
    """
    seconds *= 0.9
    a_token = speed.seconds_per_token(architecture)
    an_update = orthogonalizing_operations(architecture) / speed.rate(architecture)
    tokens = seconds / a_token
    for _ in range(3):  # the more tokens, the more of them an update has
        tokens = seconds / (a_token + an_update / pick_batch(tokens))
    return tokens


def measured(architecture: Architecture, context: int, device: torch.device, seconds: float, precision: str) -> Speed:
    """The speed of one size, measured in about a hundredth of the time there is, and the precision to take."""
    patience = min(4.0, 0.01 * seconds)
    # A step of a large model takes seconds, and says what its speed is by fewer tokens.
    tokens = 1024 if count_parameters(architecture) <= MAX_PARAMETERS else 256
    context = min(context, tokens)
    rows = tokens // context
    dtype = choose_precision(precision, architecture, context, rows, device, patience)
    speed = Speed(context, rows, device, dtype)
    speed.add(architecture, patience / 2)
    return speed


def in_precision(recipe: Recipe, dtype: torch.dtype) -> Recipe:
    """The recipe with its precision settled."""
    return replace(recipe, precision="bfloat16" if dtype == torch.bfloat16 else "float32")


def plan_learning(
    sizes: Mapping[str, Any],
    tokens: float,
    unique: float,
    minutes: float,
    given: Mapping[str, Any],
    parts: int,
    regularize: Callable[[float], Mapping[str, Any]],
) -> Plan:
    """Pick what does not depend on the machine's speed: batch, regularisation, validation.

    Args:
        sizes: the model's choices.
        tokens: how many the budget allows to learn from.
        unique: how many the text has.
        minutes: the budget.
        given: choices that are kept.
        parts: how many parts of a batch can be learned from at once.
        regularize: what keeps a text from being known by heart that is read so many times.
    """
    batch = given.get("batch_tokens", max(sizes["context"], pick_batch(tokens)))
    if given.get("steps"):
        tokens = given["steps"] * batch
    epochs = tokens / unique
    # Few validations in a short run, and all together about 3 % of its time.
    validations = int(min(20, max(4, math.sqrt(tokens / 10_000))))
    picked: dict[str, Any] = {
        "batch_tokens": batch,
        # More than 2,048 tokens do not stay in the cache.
        "micro_batch_size": max(1, min(max(MIN_TOKENS, batch // parts), batch, 2048) // sizes["context"]),
        **regularize(epochs),
        "validations": validations,
        "validation_tokens": max(4 * batch, int(min(2**26, 0.08 * tokens / validations))),
    }
    choices = dict(sizes) | picked | dict(given)
    if not given.get("steps"):
        choices["minutes"] = minutes
    reasons = {"batch_tokens": f"{tokens / batch:,.0f} updates", "dropout": f"the text is read {epochs:.1f} times"}
    return Plan(make_recipe(choices), reasons, tokens, epochs, minutes * 60)


def too_large_for(unique: float, architecture: Architecture) -> bool:
    """Whether the blocks have over 20 numbers for each token of the text: such a model soon knows it by heart."""
    tables = (2 - architecture.tied_embeddings) * architecture.vocab_size * architecture.width
    return count_parameters(architecture) - tables > 20 * unique


def pick_context(unique: float, seconds: float) -> int:
    """128 tokens, half in less than half a minute, twice from ten minutes on; fewer where the text has hardly any."""
    return fitting_context(unique, 64 if seconds < 30 else 128 if seconds < 600 else 256)


def fitting_context(unique: float, wanted: int) -> int:
    """The tokens wanted, or an eighth of the text where that is less."""
    return int(min(wanted, 2 ** max(3, math.floor(math.log2(max(8.0, unique / 8))))))


def pick_batch(tokens: float, least: int = 1024) -> int:
    """Tokens an update: the power of two next to 2.4·√tokens, from `least` to 524,288."""
    return max(least, int(2 ** min(19, round(math.log2(2.4 * math.sqrt(tokens))))))


def pick_regularization(epochs: float, kind: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """What keeps a model from knowing by heart a text that is read so many times.

    Dropout; one matrix for embedding and logits, which learns more slowly at first and is ahead from the third reading
    on; and words spelled in other pieces each time. One matrix wants a lower rate, whoever chose it.
    """
    picked: dict[str, Any] = {"dropout": 0.0 if epochs < 3 else 0.1 if epochs < 5 else 0.2 if epochs < 10 else 0.3}
    if given.get("tied_embeddings", epochs >= 2.5):
        picked |= {"tied_embeddings": True, "embedding_lr": 0.02}
    if epochs >= 6 and kind == "bpe":
        picked |= {"bpe_dropout": 0.05}
    return picked
