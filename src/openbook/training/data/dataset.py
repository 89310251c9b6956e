"""What a run learns from, as the run sees it. The rest of a run is the same for books, pairs and conversations."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from torch import nn

from openbook.generation.engines.torch_engine import TorchEngine
from openbook.generation.generate import generate
from openbook.generation.settings import Sampling
from openbook.generation.token_rules import TokenRules
from openbook.model_file.metadata import ModelMetadata
from openbook.progress import Track
from openbook.text.input_files import find_files
from openbook.text.tokenizer.tokenizer import Tokenizer
from openbook.training.data.prepared import prepare_corpus, prepare_tokenizer
from openbook.training.evaluation.perplexity import Score
from openbook.training.loop import Callback, Event, Task
from openbook.training.plan.plan import Plan
from openbook.training.recipe import Recipe
from openbook.training.report.record import files_record
from openbook.training.request import TrainingRequest
from openbook.transformer.architecture import Architecture

ShowSample = Callable[[str, str], None]
"""Is given what a model was shown, and what it wrote."""

Corpus = TypeVar("Corpus")


MERGE_COUNTS = ("merge_counts", "source_merge_counts")


class ScoredTask(Task, Protocol):
    """A task that can score as much of the held-out data as is wanted too."""

    def evaluate(self, model: nn.Module, track: Track, fraction: float) -> Score:
        """How well the model predicts the held-out data, or about this fraction of it."""
        ...


@dataclass
class Dataset(ABC):
    """Prepared text, pairs or conversations, and how a model learns from them.

    What takes long is kept in the run's folder and found there again: the corpus, the tokenizers and the tokens.

    Args:
        request: what the user asked for.
        base: metadata of the model to continue from; None for a new model.
        track: shows progress.
    """

    request: TrainingRequest
    base: ModelMetadata | None
    track: Track

    @cached_property
    def files(self) -> list[Path]:
        """The files to learn from, then those to validate with."""
        return find_files([*self.request.inputs, *(self.request.validation or [])])

    @property
    def learns_all(self) -> bool:
        """Whether nothing is held out, so that what was learned is scored."""
        return self.request.validation is None and self.request.fraction_held_out == 0

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Identifies the files and how they were prepared."""

    @abstractmethod
    def summary(self) -> dict[str, Any]:
        """What preparation found, for the event `prepared`."""

    def file_records(self) -> list[dict[str, Any]]:
        """Names, sizes and hashes of the files, for the model file."""
        return files_record((path, path.stat().st_size) for path in self.files)

    @abstractmethod
    def plan(self, device: torch.device, clock: Callable[[], float]) -> Plan:
        """Pick every choice that is not given. The clock's seconds are already spent from the budget.

        Raises:
            OpenbookError: a given choice is out of range.
        """

    @abstractmethod
    def tokenize(self, recipe: Recipe) -> tuple[Recipe, dict[str, Any]]:
        """Tokenize everything; gives the recipe with the true vocabulary size, and facts for the event `tokens`.

        Raises:
            OpenbookError: there are too few tokens for the recipe.
        """

    @abstractmethod
    def metadata(self, architecture: Architecture) -> ModelMetadata:
        """What a new model's file says besides its weights; call `tokenize` first."""

    @abstractmethod
    def task(self, recipe: Recipe, device: torch.device, dtype: torch.dtype) -> ScoredTask:
        """The training task; call `tokenize` first."""

    def merge_counts(self) -> dict[str, list[int]]:
        """How often each merge of a BPE vocabulary happened in the training text, for the model file.

        "merge_counts" is of the text, or of sources and targets that share a vocabulary; "source_merge_counts" of
        sources that have their own. A fine-tuned model keeps those of the model it began with.
        """
        kept = {} if self.base is None else self.base.training
        return {name: kept[name] for name in MERGE_COUNTS if name in kept}

    @abstractmethod
    def sample(self, model: nn.Module, number: int) -> tuple[str, str]:
        """Held-out text and what the model writes about it. Each number gives other text; call `tokenize` first."""

    def samples(self, model: nn.Module, every: float, show: ShowSample) -> Callback:
        """Shows a sample after a validation, at most one in `every` seconds."""
        number, due = 0, every

        def listen(event: Event) -> None:
            nonlocal number, due
            if event["event"] != "validation" or event["seconds"] < due:
                return
            due = event["seconds"] + every
            show(*self.sample(model, number))
            number += 1

        return listen

    def _prepare(self, prepare: Callable[..., Corpus]) -> Corpus:
        """Read, clean and split the files of the request, or find that done."""
        return prepare_corpus(prepare, self.request, self.track)

    def _load_or_train(self, name: str, settings: list[object], train: Callable[[], Tokenizer]) -> Tokenizer:
        """The tokenizer of that name in the run's folder, trained if there is none of this text and these settings."""
        return prepare_tokenizer(self.request.folder, name, [self.fingerprint, *settings], train)


def generate_text(model: nn.Module, tokenizer: Tokenizer, prompt: list[int], sampling: Sampling) -> str:
    """What a decoder-only model writes after a prompt."""
    rules = TokenRules(end_ids=tokenizer.end_ids)
    tokens = generate(TorchEngine(model), [prompt], sampling, rules)  # type: ignore[arg-type]
    return tokenizer.decode([each.token_id for each in tokens], skip_special=True)
