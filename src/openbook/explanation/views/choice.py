"""How a step chose its token: all logits, the rules, each penalty and filter in turn, then the draw."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from openbook.errors import OpenbookError
from openbook.explanation.traced_generation import TracedRun
from openbook.generation.arrays import FloatArray, softmax
from openbook.generation.sampling import History, filters, sample, sampling_probabilities
from openbook.generation.settings import Sampling

CANDIDATES = 64


@dataclass(frozen=True)
class Stage:
    """Logits (V,) after one filter; `on` says whether the settings use it, `sentence` what it does."""

    name: str
    on: bool
    sentence: str
    logits: FloatArray
    kept: int


@dataclass(frozen=True)
class Option:
    """One token that may come next.

    Attributes:
        token: its id.
        rank: by the model's own probability, 1 for the most probable.
        values: its logit after each stage that is on.
        probability: the model's own.
        sampling_probability: after all filters.
        start, end: its part of the cumulative distribution, in the order of ids; empty where it was dropped.
        dropped_by: the stage that dropped it.
    """

    token: int
    rank: int
    values: dict[str, float]
    probability: float
    sampling_probability: float
    start: float
    end: float
    dropped_by: str | None


@dataclass(frozen=True)
class Choice:
    """The whole choice of one token; `drawn` is the random number, None where the most probable token is taken."""

    settings: Sampling
    stages: tuple[Stage, ...]
    options: tuple[Option, ...]
    drawn: float | None
    chosen: int
    rest_count: int
    rest_probability: float
    greedy: bool = field(default=False)


def choice(run: TracedRun, step: int, changes: dict[str, Any] | None = None) -> Choice:
    """How a step of a run chose, or would choose with other settings.

    Args:
        run: whose step it is.
        step: its number.
        changes: settings to change, as for `Sampling`; another seed draws another number.

    Raises:
        OpenbookError: a setting is unknown or out of range; the step's logits are not finite.
    """
    if not run.steps[step].finite:
        raise OpenbookError("no token can be chosen in this step: the logits are not finite")
    settings = Sampling.from_dict({**vars(run.settings), **(changes or {})})
    before = run.tokens[: run.steps[step].end]
    stages = tuple(_stages(run, step, before, settings))
    final = stages[-1].logits
    probabilities = sampling_probabilities(final[None], settings)[0]
    own = softmax(run.logits(step)[None])[0]
    greedy = settings.temperature == 0
    drawn = None if greedy else _drawn(settings, step)
    cumulative = probabilities.cumsum(dtype=np.float64)
    ends = cumulative / cumulative[-1]
    chosen = int(probabilities.argmax()) if drawn is None else int(sample(probabilities[None], np.array([drawn]))[0])
    order = np.lexsort((-own, -probabilities))
    shown = order[:CANDIDATES].tolist()
    if chosen not in shown:
        shown[-1] = chosen
    ranks = np.empty(len(own), dtype=np.int64)
    ranks[np.argsort(-own, kind="stable")] = np.arange(1, len(own) + 1)
    options = tuple(_option(token, stages, own, probabilities, ends, int(ranks[token])) for token in shown)
    return Choice(
        settings=settings,
        stages=stages,
        options=options,
        drawn=drawn,
        chosen=chosen,
        rest_count=len(own) - len(shown),
        rest_probability=max(0.0, 1.0 - sum(option.probability for option in options)),
        greedy=greedy,
    )


def _stages(run: TracedRun, step: int, before: list[int], settings: Sampling) -> Iterator[Stage]:
    """The logits, then those after each stage, in the order of `generation.sampling`."""
    logits = run.logits(step)[None]
    yield _stage("logits", True, "The model gives every token of its vocabulary a logit.", logits)
    prompt = run.tokens[: run.prompt_length]
    history = History([prompt], logits.shape[-1])
    for token in before[len(prompt) :]:
        history.add(np.array([token]))
    at_last = len(run.steps) == step + 1 and run.finish_reason == "length"
    logits = run.rules.apply(logits, lambda: np.array([before]), np.array([step]), np.array([at_last]))
    changed = bool((logits != run.logits(step)[None]).any())
    yield _stage("rules", changed, "Tokens that may not come here, such as padding, are left out.", logits)
    for each in filters(history, settings):
        if each.on:
            logits = each.apply(logits)
        yield _stage(each.name, each.on, each.sentence, logits)


def _stage(name: str, on: bool, sentence: str, logits: FloatArray) -> Stage:
    return Stage(name, on, sentence, logits[0], int((logits[0] > -np.inf).sum()))


def _drawn(settings: Sampling, step: int) -> float:
    """The random number of a step: the row's generator gives one for each token."""
    return float(np.random.default_rng(settings.seed).random(step + 1)[step])


def _option(
    token: int, stages: tuple[Stage, ...], own: FloatArray, probabilities: FloatArray, ends: FloatArray, rank: int
) -> Option:
    values = {stage.name: float(stage.logits[token]) for stage in stages if stage.on}
    dropped = next((stage.name for stage in stages if stage.logits[token] == -np.inf), None)
    return Option(
        token=token,
        rank=rank,
        values=values,
        probability=float(own[token]),
        sampling_probability=float(probabilities[token]),
        start=float(ends[token - 1]) if token else 0.0,
        end=float(ends[token]),
        dropped_by=dropped,
    )
