"""Books as what a run learns from (see `dataset.Dataset`)."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from openbook.errors import OpenbookError
from openbook.model_file.atomic import atomic_write
from openbook.model_file.metadata import ModelMetadata
from openbook.progress import Track
from openbook.text.corpus.books import find_books
from openbook.text.corpus.corpus import Corpus
from openbook.text.corpus.prepare import prepare
from openbook.text.tokenizer.bpe_dropout import MergeDropout
from openbook.text.tokenizer.tokenizer import Tokenizer
from openbook.text.tokenizer.training import SAMPLE, train_tokenizer
from openbook.training.continuation import plan_continuation
from openbook.training.data.book_task import Books
from openbook.training.data.book_tokens import Tokens, tokenize
from openbook.training.data.dataset import Tell
from openbook.training.loop import Listener
from openbook.training.plan.memory import check_memory, spare_memory
from openbook.training.plan.plan import SIZES, Plan, Text, make_plan, shape_choices
from openbook.training.recipe import Recipe, build_architecture, make_recipe
from openbook.training.report.record import data_record
from openbook.training.report.samples import Samples
from openbook.training.request import Request
from openbook.transformer.architecture import Architecture
from openbook.transformer.transformer import Transformer


@dataclass
class BookDataset:
    """The text of books; `start` is what the model file to go on from says."""

    request: Request
    start: ModelMetadata | None
    track: Track
    corpus: Corpus = field(init=False)
    tokenizer: Tokenizer = field(init=False)
    tokens: Tokens = field(init=False)

    def __post_init__(self) -> None:
        """Prepare the text.

        Raises:
            OpenbookError: there is none, or the model to go on from learns from pairs.
        """
        request = self.request
        if self.start is not None and self.start.architecture.encoder is not None:
            raise OpenbookError(f"{request.start}: is an encoder-decoder; it learns from pairs: give --pairs")
        self.corpus = prepare(
            request.inputs,
            request.folder / "text",
            validation=request.validation,
            validation_share=request.validation_share,
            keep_duplicates=request.keep_duplicates,
            track=self.track,
        )

    @property
    def fingerprint(self) -> str:
        return self.corpus.fingerprint

    def facts(self) -> dict[str, Any]:
        return {
            "lines": self.corpus.report.lines(),
            "expectations": self.corpus.expectations(),
            "train_bytes": self.corpus.train.bytes,
            "validation_bytes": self.corpus.validation.bytes,
        }

    def record(self) -> list[dict[str, Any]]:
        return data_record(self.corpus, find_books([*self.request.inputs, *(self.request.validation or [])]))

    def plan(self, device: torch.device, clock: Callable[[], float]) -> Plan:
        text = Text(self.corpus.train.bytes, self.corpus.validation.bytes)
        if self.start is not None:
            low_rank = self.request.lora is not None
            return plan_continuation(text, self.request.choices, self.start.architecture, device, clock(), low_rank)
        self._check_least()
        return make_plan(text, self.request.choices, device, clock())

    def _check_least(self) -> None:
        """Refuse choices that do not fit into memory whatever the rest is, before the plan measures them."""
        choices, (layers, width, _) = self.request.choices, SIZES[0]
        sizes = shape_choices(choices.get("layers", layers), choices.get("width", width), choices)
        least = make_recipe({"micro_batch_size": 1, **sizes, **choices})
        architecture = build_architecture(least)
        check_memory(architecture, spare_memory(architecture, least, choices))

    def tokenize(self, recipe: Recipe) -> tuple[Recipe, dict[str, Any]]:
        folder = self.request.folder
        self.tokenizer = self._tokenizer(recipe, folder / "tokenizer.json")
        self.tokens = tokens = tokenize(self.corpus, self.tokenizer, folder / "tokens", track=self.track)
        if len(tokens.train.ids) <= recipe.context + 1:
            raise OpenbookError(
                f"--context {recipe.context}: the text has only {len(tokens.train.ids):,} tokens; take a shorter "
                "context, or more text"
            )
        if len(tokens.validation.ids) < 2:
            raise OpenbookError("too little text to hold any out for validation; add books, or give --validation")
        if self.start is None:
            recipe = replace(recipe, vocab_size=self.tokenizer.vocab_size)
        return recipe, {
            "vocab_size": self.tokenizer.vocab_size,
            "train": len(tokens.train.ids),
            "validation": len(tokens.validation.ids),
            "unknown": tokens.train.unknown,
        }

    def _tokenizer(self, recipe: Recipe, place: Path) -> Tokenizer:
        if self.start is not None:
            return self.start.make_tokenizer()
        if place.exists():
            return Tokenizer.from_json(place.read_text("utf-8"))
        pieces = self.corpus.train.sample(SAMPLE)
        tokenizer = train_tokenizer(pieces, recipe.tokenizer, recipe.vocab_size, track=self.track)
        with atomic_write(place) as file:
            file.write(tokenizer.to_json().encode())
        return tokenizer

    def contents(self, architecture: Architecture) -> ModelMetadata:
        return ModelMetadata(architecture=architecture, tokenizer=self.tokenizer.to_json())

    def task(self, recipe: Recipe, device: torch.device, dtype: torch.dtype) -> Books:
        train, validation = self.tokens.train, self.tokens.validation
        held_out = np.concatenate((np.array([self.tokenizer.end_id], validation.ids.dtype), validation.ids))
        starts = train.documents[:-1]
        joins = MergeDropout(self.tokenizer) if recipe.bpe_dropout else None
        return Books(recipe, train.ids, held_out, validation.text_bytes, starts, device, dtype, joins)

    def samples(self, model: nn.Module, every: float, tell: Tell) -> Listener:
        assert isinstance(model, Transformer)
        return Samples(model, self.tokenizer, self.tokens.validation.ids, every, tell)  # type: ignore[arg-type]
