"""The engine of a model: opened when it is first needed, or ahead on a thread of its own."""

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from openbook.generation.engines.engine import Engine
from openbook.generation.engines.registry import EngineChoice, open_engine
from openbook.model_file.opening import ModelFile

if TYPE_CHECKING:
    from openbook.transformer.transformer import Transformer


class LazyEngine:
    """Opens the engine that was chosen, from the model file as long as no weight differs from it.

    Args:
        choice: which engine, and why.
        file: where the tensors are, if they are all in one file.
    """

    def __init__(self, choice: EngineChoice, file: ModelFile | None = None) -> None:
        self.choice = choice
        self._file = file if choice.name == "native" else None
        self._opened: tuple[object, Engine] | None = None
        self._opening: threading.Thread | None = None

    def open_ahead(self) -> None:
        """Begin to open it from its file, if it can be, while other things happen."""
        if self._file is not None and self._opened is None and self._opening is None:
            self._opening = threading.Thread(target=self._open_from_file)
            self._opening.start()

    def get(self, changes: object, transformer: "Callable[[], Transformer]") -> Engine:
        """The engine.

        Args:
            changes: None as long as the weights are those of the file; else something that differs after every change.
            transformer: gives the PyTorch module, for what the file does not serve.
        """
        if self._opening is not None:
            self._opening.join()
            self._opening = None
        if self._opened is None or (self._opened[0] != changes and self.choice.name != "torch"):
            from_file = self._file if changes is None else None
            self._opened = changes, open_engine(self.choice.name, from_file or transformer())
        return self._opened[1]

    def put(self, engine: Engine, changes: object) -> None:
        """Put another engine in its place, until a weight changes."""
        self._opened = changes, engine

    def _open_from_file(self) -> None:
        """Whatever fails here fails again in `get`, where it is told."""
        assert self._file is not None
        try:
            self._opened = None, open_engine(self.choice.name, self._file)
            self._file.forget_pages()  # nothing else has used them yet
        except Exception:
            self._opened = None
