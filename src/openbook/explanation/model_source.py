"""What the page knows of a model beside its numbers: tokenizers, metadata, and the file with its bytes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from openbook.errors import OpenbookError
from openbook.explanation.reader import TensorOffset
from openbook.explanation.tensor_offsets import tensor_offsets
from openbook.explanation.token_display import display_token
from openbook.model_file.file_state import FileState
from openbook.model_file.inspection import describe_tensors
from openbook.model_file.metadata import ModelMetadata
from openbook.text.printable import printable_path
from openbook.text.tokenizer.tokenizer import Tokenizer


@dataclass(frozen=True)
class ModelSource:
    """The model behind a page.

    Attributes:
        metadata: of the model file.
        tokenizer: spells tokens.
        source_tokenizer: spells the tokens of a source.
        path: of the model file; None for a model that lies in no file.
        state: of that file when the model was opened.
    """

    metadata: ModelMetadata
    tokenizer: Tokenizer
    source_tokenizer: Tokenizer
    path: Path | None = None
    state: FileState | None = field(default=None)

    @cached_property
    def offsets(self) -> Mapping[str, TensorOffset]:
        """Where each tensor lies in the file; nothing where there is no file, or where it changed."""
        if self.path is None or self.changed() is not None:
            return {}
        try:
            return tensor_offsets(self.path)
        except OpenbookError:
            return {}

    @cached_property
    def tensors(self) -> Mapping[str, Mapping[str, Any]]:
        """What `inspect` says about each tensor of the file; nothing without one."""
        if self.path is None or self.changed() is not None:
            return {}
        return {tensor["name"]: tensor for tensor in describe_tensors(self.path)}

    def merge_counts(self, source: bool = False) -> list[int] | None:
        """How often training joined each merge of the tokenizer, where the model file knows it.

        Args:
            source: of the tokenizer of sources.
        """
        name = "source_merge_counts" if source and self.metadata.source_tokenizer else "merge_counts"
        counts = self.metadata.training.get(name)
        if not isinstance(counts, list) or not all(type(each) is int for each in counts):
            return None
        return counts

    def changed(self) -> str | None:
        """One line if the file is no longer the one that was opened."""
        if self.path is None or self.state is None:
            return None
        now = FileState.of(self.path)
        if now == self.state:
            return None
        what = "is gone" if now is None else "changed"
        return f"{self.name} {what} on disk since it was opened; the numbers here are of the model as it was"

    @property
    def name(self) -> str:
        """The file's name, safe to show."""
        return "a model in memory" if self.path is None else printable_path(self.path.name)

    def text(self, token_id: int, source: bool = False) -> str:
        """A token in quotes, control characters escaped, parts of a character as bytes."""
        return display_token(self.source_tokenizer if source else self.tokenizer, token_id)

    def label(self, token_id: int, source: bool = False) -> str:
        """The same without quotes."""
        text = self.text(token_id, source)
        return text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text

    def named(self, token_id: int) -> dict[str, object]:
        """A token with its id, text and label."""
        return {"id": token_id, "text": self.text(token_id), "label": self.label(token_id)}
