"""What the sentences of an outline are about: the tokens, the followed one, and numbers out of the trace."""

from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from openbook.explanation.model_source import ModelSource
from openbook.explanation.traced_generation import TracedRun
from openbook.trace import Trace
from openbook.transformer import architecture


@dataclass(frozen=True)
class Facts:
    """A step of a run, and the token that its sentences follow: the last one that it read.

    Attributes:
        run, model: whose they are.
        step: the number of the step.
    """

    run: TracedRun
    model: ModelSource
    step: int

    @cached_property
    def trace(self) -> Trace:
        """Of the step."""
        return self.run.trace(self.step)

    @property
    def spec(self) -> architecture.Architecture:
        """The architecture of the model."""
        return self.run.model.architecture

    def value(self, path: str) -> Tensor:
        """What is recorded at a path, of the first row of the batch."""
        return self.trace[path].value[0]

    def last_row(self, path: str) -> Tensor:
        """The same of the followed token, where axis t comes first."""
        return self.value(path)[-1]

    def block(self, stack: str, layer: int) -> architecture.Block:
        """The block of a layer."""
        return self.spec.stacks[stack].blocks[layer]

    def position(self, stack: str, layer: int) -> architecture.Position:
        """How a layer knows positions."""
        return self.block(stack, layer).position or self.spec.stacks[stack].position

    def followed(self, stack: str) -> str:
        """The followed token in quotation marks."""
        if stack == "encoder":
            assert self.run.source is not None
            return self.quoted(self.run.source[-1], source=True)
        return self.quoted(self.run.tokens[self.run.steps[self.step].end - 1])

    def chosen(self, step: int) -> str:
        """The token that a step chose, in quotation marks."""
        found = self.run.steps[step]
        return self.quoted(found.chosen.token_id) if found.finite else "no token"

    def attended(self, path: str, stack: str, at: int) -> str:
        """The token at an index of the axis s of an attention part, in quotation marks."""
        if stack == "encoder" or ".cross_attention" in path:
            assert self.run.source is not None
            return self.quoted(self.run.source[at], source=True)
        return self.quoted(self.run.tokens[at])

    def quoted(self, token: int, source: bool = False) -> str:
        """A token in quotation marks, without the spaces around it where it has other signs."""
        label = self.model.label(token, source)
        return f"“{label.strip() or label}”"


def percent(share: float) -> str:
    """49 %; with more digits where it is close to nothing or to all."""
    if share != share:
        return "NaN"
    if 0.995 <= share < 1:
        return f"{min(99.99, 100 * share):.4g} %"
    return f"{100 * share:.0f} %" if share >= 0.01 or share == 0 else f"{100 * share:.1g} %"


def decimal(value: float) -> str:
    """Three digits that matter, with a true minus sign."""
    return f"{value:.3g}".replace("-", "−").replace("inf", "∞").replace("nan", "NaN")


def counted(count: int, one: str, many: str | None = None) -> str:
    """1 head, 9 heads."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"
