"""What a person asks of a training run, and what came of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openbook.training.evaluation.perplexity import Score
from openbook.training.loop import Outcome
from openbook.training.lora import TARGETS
from openbook.training.recipe import Recipe


@dataclass(frozen=True)
class TrainingRequest:
    """What a person asks for. Two runs with equal requests on equal inputs are the same run.

    Args:
        inputs: books or files of sentence pairs: files, folders, globs.
        output: the model file to make.
        choices: recipe fields that are given (see `Recipe`).
        pairs: whether the inputs are sentence pairs, not books.
        conversations: whether the inputs are conversations, not books.
        validation: files to validate with; None holds out the tail of each document, or some of the pairs.
        validation_fraction: how much to hold out; None picks it by the amount of text.
        keep_duplicates: whether passages or pairs that occur twice stay.
        device: auto, cpu, cuda or mps.
        base_model: a model file to go on from.
        lora_rank: rank of a low-rank change to learn, instead of all weights.
        lora_targets: the matrices that it changes.
        adapter: whether to save that change alone, in a file beside the model, instead of a whole model.
    """

    inputs: Sequence[str | Path]
    output: Path
    choices: Mapping[str, Any]
    pairs: bool = False
    conversations: bool = False
    validation: Sequence[str | Path] | None = None
    validation_fraction: float | None = None
    keep_duplicates: bool = False
    device: str = "auto"
    base_model: Path | None = None
    lora_rank: int | None = None
    lora_targets: Sequence[str] = TARGETS
    adapter: bool = False

    @property
    def folder(self) -> Path:
        """Where the run keeps what it needs to go on, its log and its curve."""
        return self.output.with_suffix(".training")


@dataclass(frozen=True)
class TrainingResult:
    """What came of it."""

    path: Path
    outcome: Outcome
    score: Score
    metrics: Mapping[str, float]
    recipe: Recipe
    curve: Path
