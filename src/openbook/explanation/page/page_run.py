"""Everything that a page can ask of a run, by name: the same for a server, a file and a notebook."""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from openbook.errors import OpenbookError
from openbook.explanation.model_source import ModelSource
from openbook.explanation.page.derivation_data import TERMS_SHOWN, derivation_data
from openbook.explanation.page.manifest import Asked, manifest
from openbook.explanation.page.quantities import quantities
from openbook.explanation.page.slices import read_slices
from openbook.explanation.traced_generation import TracedRun

VIEWS_KEPT = 64
"""What was computed and may be asked for again."""

View = Callable[["PageRun", Mapping[str, str]], dict[str, Any]]


@dataclass
class PageRun:
    """A run, the model behind it, and what was asked.

    Attributes:
        run: the traced run.
        model: its tokenizers and its file.
        asked: prompt and target.
        views: what `view` knows, by name; see `page.views`.
    """

    run: TracedRun
    model: ModelSource
    asked: Asked
    views: Mapping[str, View]
    _steps: dict[int, dict[str, Any]] = field(default_factory=dict)
    _manifest: dict[str, Any] | None = None
    _seen: OrderedDict[tuple[Any, ...], dict[str, Any]] = field(default_factory=OrderedDict)

    def prepare(self) -> None:
        """Compute what the first picture needs."""
        self.manifest()
        self.view("prompt", {})

    def manifest(self) -> dict[str, Any]:
        """The manifest; see `page.manifest`."""
        if self._manifest is None:
            self._manifest = manifest(self.run, self.model, self.asked, self.step(0))
        return self._manifest | {"changed": self.model.changed()}

    def step(self, number: int) -> dict[str, Any]:
        """The quantities of a step and their formulas; see `page.quantities`.

        Raises:
            OpenbookError: there is no such step.
        """
        if not 0 <= number < len(self.run.steps):
            raise OpenbookError(f"there is no step {number}; this run has steps 0 to {len(self.run.steps) - 1}")
        if number not in self._steps:
            step = self.run.steps[number]
            listed = quantities(self.run.model, self.run.trace(number))
            self._steps[number] = {"step": number, "tokens": [step.first, step.end], **listed}
        return self._steps[number]

    def slices(self, wanted: Sequence[Mapping[str, Any]]) -> bytes:
        """Parts of recorded tensors and weights; see `page.slices`."""
        return read_slices(self.run, wanted)

    def derivation(self, step: int, path: str, index: Sequence[int], terms: int | None = TERMS_SHOWN) -> dict[str, Any]:
        """How one number follows; see `page.derivation_data`."""
        found = derivation_data(self.run, self.model, step, path, index, terms)
        return found | {"changed": self.model.changed()}

    def view(self, name: str, parameters: Mapping[str, str]) -> dict[str, Any]:
        """One of the views.

        Raises:
            OpenbookError: there is no such view, or a parameter is wrong.
        """
        if name not in self.views:
            raise OpenbookError(f'there is no view "{name[:40]}"; there are {", ".join(self.views)}')
        if name == "file":  # it says whether the file changed
            return self.views[name](self, parameters)
        key = (name, *sorted(parameters.items()))
        if key not in self._seen:
            self._seen[key] = self.views[name](self, parameters)
        self._seen.move_to_end(key)
        while len(self._seen) > VIEWS_KEPT:
            self._seen.popitem(last=False)
        return self._seen[key]
