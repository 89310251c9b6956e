"""What a run learns from, books or sentence pairs, as the run sees it: the rest of a run is the same for both."""

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import nn

from openbook.model_file.metadata import ModelMetadata
from openbook.progress import Track
from openbook.training.evaluation import Score
from openbook.training.loop import Listener, Task
from openbook.training.plan.plan import Plan
from openbook.training.recipe import Recipe
from openbook.transformer.architecture import Architecture

Tell = Callable[[str, str], None]
"""Is given what a model was shown, and what it made of it."""


class ScoredTask(Task, Protocol):
    """A task that can score all of the held-out data too."""

    def final_score(self, model: nn.Module, track: Track) -> Score:
        """How well the model predicts it."""
        ...


class Dataset(Protocol):
    """Prepared text or pairs, and how a model learns from them."""

    @property
    def fingerprint(self) -> str:
        """Names the files and how they were prepared."""
        ...

    def facts(self) -> dict[str, Any]:
        """What preparation found, for the event `prepared`."""
        ...

    def record(self) -> list[dict[str, Any]]:
        """Names and hashes of the files, for the model file."""
        ...

    def plan(self, device: torch.device, clock: Callable[[], float]) -> Plan:
        """Pick every choice that is not given; what the clock shows is gone from the budget.

        Raises:
            OpenbookError: a given choice is out of range.
        """
        ...

    def tokenize(self, recipe: Recipe) -> tuple[Recipe, dict[str, Any]]:
        """Write all tokens; gives the recipe with its true size of vocabulary, and facts for the event `tokens`.

        Raises:
            OpenbookError: there are too few tokens for the recipe.
        """
        ...

    def contents(self, architecture: Architecture) -> ModelMetadata:
        """What the file of a new model says besides its weights; after `tokenize`."""
        ...

    def task(self, recipe: Recipe, device: torch.device, dtype: torch.dtype) -> ScoredTask:
        """What there is to learn; after `tokenize`."""
        ...

    def samples(self, model: nn.Module, every: float, tell: Tell) -> Listener:
        """Shows, every so many seconds, what the model makes of held-out text; after `tokenize`."""
        ...
