"""The steps of the algorithm, in the order in which they ran."""

from typing import Any

from openbook.explanation.model_source import ModelSource
from openbook.explanation.traced_generation import TracedRun


def outline(run: TracedRun, model: ModelSource, prompt: str) -> list[dict[str, Any]]:
    """Sections of steps."""
    return []
