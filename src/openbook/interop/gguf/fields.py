"""The fields of one architecture in a GGUF file: each is taken once, and what nobody took is refused by name."""

from collections.abc import Mapping
from typing import Any

from openbook.errors import OpenbookError
from openbook.model_file.header import Shape

HARMLESS = {"vocab_size", "rope.dimension_count", "tensor_data_layout", "attention.value_length"}
"""Fields that repeat what others say."""


class GgufFields:
    """Fields by their names without the architecture's before them, and the shapes of the file's tensors."""

    def __init__(self, fields: Mapping[str, Any], architecture: str, shapes: Mapping[str, Shape]) -> None:
        self.architecture, self.shapes = architecture, shapes
        prefix = f"{architecture}."
        self._fields = {name.removeprefix(prefix): value for name, value in fields.items() if name.startswith(prefix)}
        self._taken: set[str] = set()

    def optional(self, name: str, default: Any = None) -> Any:
        """A field, or the default."""
        self._taken.add(name)
        return self._fields.get(name, default)

    def number(self, name: str, default: float | None = None) -> Any:
        """A number; required where `default` is None."""
        value = self.optional(name, default)
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise self.error(name, "should be a number; convert the file again")
        return value

    @property
    def vocab_size(self) -> int:
        """Rows of the token embedding."""
        return self.shapes.get("token_embd.weight", (0,))[0]

    @property
    def tied(self) -> bool:
        """Whether the logits use the token embedding."""
        return "output.weight" not in self.shapes

    def finish(self) -> None:
        """Refuse what was not taken: it may change the result."""
        for name in self._fields:
            if name not in self._taken | HARMLESS:
                raise self.error(name, "is not understood and may change the result; upgrade openbook")

    def error(self, name: str, reason: str) -> OpenbookError:
        """An error that names the field."""
        return OpenbookError(f"field {self.architecture}.{name}: {reason}")
