"""The learner's path through a run."""

from typing import Any

from openbook.explanation.model_source import ModelSource
from openbook.explanation.traced_generation import TracedRun


def learners_path(run: TracedRun, model: ModelSource) -> list[dict[str, Any]]:
    """The stops."""
    return []
