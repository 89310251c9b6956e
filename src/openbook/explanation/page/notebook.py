"""A traced pass as the last line of a notebook's cell: the page of that pass, in a frame that needs no kernel."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from openbook.explanation.model_source import ModelSource
from openbook.explanation.page.html_file import page_iframe
from openbook.explanation.page.manifest import Asked
from openbook.explanation.page.page_run import PageRun
from openbook.explanation.page.views import VIEWS
from openbook.explanation.run import Explanation
from openbook.explanation.traced_generation import run_of
from openbook.model_file.file_state import FileState
from openbook.model_file.metadata import ModelMetadata
from openbook.text.tokenizer.tokenizer import Tokenizer


def with_page(
    explanation: Explanation,
    metadata: ModelMetadata,
    tokenizer: Tokenizer,
    path: Path | None,
    asked: Callable[[], Asked],
) -> Explanation:
    """The same explanation, which a notebook shows as a page.

    Args:
        explanation: of one row.
        metadata, tokenizer: of the model.
        path: of the model file, if it has one.
        asked: the prompt; called when the page is made.
    """
    state = None if path is None else FileState.of(path)

    def html() -> str:
        source = ModelSource(metadata, tokenizer, metadata.make_source_tokenizer(), path, state)
        return page_iframe(PageRun(run_of(explanation), source, asked(), VIEWS))

    return replace(explanation, html=html)
