"""A model in memory, with the batches that answer from it."""

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from openbook import __version__
from openbook.generation.batching.batcher import Batcher
from openbook.generation.batching.limits import BatchLimits
from openbook.model import Model, load
from openbook.model_file.file_state import FileState
from openbook.model_file.file_type import looks_like_adapter
from openbook.model_file.metadata import ModelMetadata
from openbook.model_file.opening import error_context, open_model_file
from openbook.text.tokenizer.tokenizer import Tokenizer
from openbook.web.serve.grammar import GrammarTokenizer
from openbook.web.serve.tool_format import ToolFormat, tool_format


@dataclass(eq=False)
class LoadedModel:
    """A model that answers.

    Attributes:
        id: its name for clients.
        model: the model itself.
        batcher: answers many requests at once.
        state: of its file when it was opened.
        users: requests that need it now.
    """

    id: str
    model: Model
    batcher: Batcher
    state: FileState | None = None
    users: int = 0

    @property
    def metadata(self) -> ModelMetadata:
        """All but its tensors."""
        return self.model.metadata

    @property
    def tokenizer(self) -> Tokenizer:
        """Spells tokens; for a translator, those of the target."""
        return self.model.tokenizer

    @cached_property
    def source_tokenizer(self) -> Tokenizer:
        """Spells the tokens of a translator's sources."""
        return self.metadata.make_source_tokenizer()

    @cached_property
    def unused_ids(self) -> tuple[int, ...]:
        """Ids that stand for no token."""
        return self.tokenizer.ids_without_token(self.model.engine.vocab_size)

    @cached_property
    def grammar_tokenizer(self) -> GrammarTokenizer:
        """What grammars need to know of the vocabulary."""
        return GrammarTokenizer(self.tokenizer, self.model.engine.vocab_size)

    @cached_property
    def tools(self) -> ToolFormat | None:
        """How the chat template writes calls of tools; None if it takes no tools."""
        return None if self.model.chat is None else tool_format(self.model.chat)

    @cached_property
    def fingerprint(self) -> str:
        """Differs where the same seed may give another answer: by version, file, engine and its kernels."""
        engine = self.model.engine
        what = (__version__, self.id, self.state, self.engine_name, getattr(engine, "kernels", ""), self.batcher.exact)
        return f"fp_{hashlib.sha256(repr(what).encode()).hexdigest()[:12]}"

    @property
    def context(self) -> int:
        """Most tokens of a sequence."""
        return self.model.engine.context

    @property
    def engine_name(self) -> str:
        """The engine that decodes."""
        return self.model.engine_choice.name

    def close(self) -> None:
        """End all it does, and let its memory go."""
        self.batcher.close()


@dataclass(frozen=True, kw_only=True)
class Loader:
    """How models are opened.

    Attributes:
        engine, device: as for `openbook.load`.
        limits: of each model's batches.
        exact: answers the same to the bit in any batch, also where the engine alone does not promise it.
    """

    engine: str = "auto"
    device: str = "auto"
    limits: BatchLimits = field(default_factory=BatchLimits)
    exact: bool = False

    def metadata(self, path: Path) -> ModelMetadata:
        """All of a model file but its tensors.

        Raises:
            OpenbookError: it is missing or damaged.
        """
        with error_context(path):
            is_adapter = path.is_file() and looks_like_adapter(path)
        if is_adapter:
            return load(path, self.device, self.engine).metadata
        return open_model_file(path).metadata

    def load(self, name: str, path: Path) -> LoadedModel:
        """A model with its engine open.

        Raises:
            OpenbookError: its file is missing or damaged.
        """
        state = FileState.of(path)
        model = load(path, self.device, self.engine, ahead=True)
        return LoadedModel(name, model, Batcher(model.engine, self.limits, exact=self.exact), state)
