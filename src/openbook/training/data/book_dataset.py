"""Books as a dataset: their text, its tokens and the language-modelling task."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from openbook.errors import SettingError
from openbook.generation.settings import Sampling
from openbook.model_file.metadata import ModelMetadata
from openbook.text.corpus.corpus import Corpus
from openbook.text.corpus.prepare import prepare
from openbook.text.formatting import format_count
from openbook.text.tokenizer.bpe_dropout import MergeDropout
from openbook.text.tokenizer.merge_counts import LongArray, count_tokens, merge_counts
from openbook.text.tokenizer.tokenizer import Tokenizer
from openbook.text.tokenizer.unknown import token_lengths
from openbook.training.data.book_tokens import TokenizedBooks, TokenizedSplit, tokenize_books
from openbook.training.data.dataset import Dataset, ScoredTask, generate_text
from openbook.training.data.language_modeling_task import LanguageModelingTask
from openbook.training.data.prepared import prepare_book_tokenizer
from openbook.training.evaluation.perplexity import TokenBytes
from openbook.training.plan.book_rules import BookRules
from openbook.training.plan.fine_tuning import BaseModel, plan_fine_tuning
from openbook.training.plan.plan import Plan, make_plan
from openbook.training.recipe import Recipe
from openbook.training.report.record import data_record
from openbook.transformer.architecture import Architecture

SAMPLING = Sampling(max_tokens=40, seed=0, temperature=0.7)
LEARNED_TOKENS = 1 << 18
"""Of the training text at most, to score where nothing is held out."""
PROMPT_TOKENS = 8
"""Tokens of held-out text that a sample continues."""


@dataclass
class BookDataset(Dataset):
    """The text of books.

    Raises:
        OpenbookError: there is no text, or the model to continue from learns from pairs.
    """

    corpus: Corpus = field(init=False)
    tokenizer: Tokenizer = field(init=False)
    tokens: TokenizedBooks = field(init=False)

    def __post_init__(self) -> None:
        if self.base is not None and self.base.architecture.encoder is not None:
            raise SettingError(f"{self.request.base_model}: is an encoder-decoder; it learns from pairs: give `pairs`")
        self._open()

    def _open(self) -> None:
        self.corpus = self._prepare(prepare)

    @property
    def train_bytes(self) -> int:
        """Of text to learn from."""
        return self.corpus.train.bytes

    @property
    def choices(self) -> Mapping[str, Any]:
        """The recipe fields that are given."""
        return self.request.choices

    @property
    def fingerprint(self) -> str:
        return self.corpus.fingerprint

    def summary(self) -> dict[str, Any]:
        return {
            "lines": self.corpus.report.lines(),
            "expectations": self.corpus.expectations(),
            "train_bytes": self.corpus.train.bytes,
            "validation_bytes": self.corpus.validation.bytes,
            "scored": "learned" if self.learns_all else "held-out",
        }

    def file_records(self) -> list[dict[str, Any]]:
        return data_record(self.corpus, self.files)

    def plan(self, device: torch.device, clock: Callable[[], float]) -> Plan:
        rules = BookRules(self.train_bytes)
        if self.base is not None:
            base = BaseModel(self.base.architecture, lora=self.request.lora_rank is not None)
            return plan_fine_tuning(rules, self.request.choices, base, device, clock())
        return make_plan(rules, self.choices, device, clock())

    def tokenize(self, recipe: Recipe) -> tuple[Recipe, dict[str, Any]]:
        self.tokenizer, self.tokens = self._encode(recipe)
        train, validation = self.tokens.train, self._scored()
        if len(train.ids) <= recipe.context + 1:
            raise SettingError(
                f"`context` {recipe.context}: the text has only {format_count(len(train.ids), 'token')}; take a "
                "shorter context, or more text"
            )
        if len(validation.ids) < 2:
            raise SettingError(
                "too little text to hold any out for validation; add books, give `validation`, or "
                "`validation_fraction`=0 to hold none out"
            )
        if self.base is None:
            recipe = replace(recipe, vocab_size=self.tokenizer.vocab_size)
        return recipe, {
            "vocab_size": self.tokenizer.vocab_size,
            "train": len(train.ids),
            "validation": len(validation.ids),
            "unknown": train.unknown.tokens,
            "validation_unknown": validation.unknown.tokens,
        }

    def _encode(self, recipe: Recipe) -> tuple[Tokenizer, TokenizedBooks]:
        """The tokenizer and the tokens, made or found."""
        folder = self.request.folder
        if self.base is not None:
            tokenizer = self.base.make_tokenizer()
        else:
            tokenizer = prepare_book_tokenizer(self.corpus, recipe.tokenizer, recipe.vocab_size, folder, self.track)
        kind = recipe.tokenizer if self.base is None else None
        return tokenizer, tokenize_books(self.corpus, tokenizer, folder / "tokens", kind=kind, track=self.track)

    def _scored(self) -> TokenizedSplit:
        """The held-out text; where there is none to be, the beginning of what is learned."""
        if not self.learns_all:
            return self.tokens.validation
        train = self.tokens.train
        ids = train.ids[:LEARNED_TOKENS]
        token_bytes = TokenBytes(token_lengths(self.tokenizer), self.tokenizer.unknown_id, train.unknown)
        return replace(train, ids=ids, text_bytes=round(token_bytes.of(ids)), unknown=token_bytes.unknown(ids))

    @property
    def _train_ids(self) -> LongArray:
        """All tokens of the training text."""
        return self.tokens.train.ids

    def merge_counts(self) -> dict[str, list[int]]:
        if self.base is not None:
            return super().merge_counts()
        found = merge_counts(self.tokenizer, count_tokens(self._train_ids, self.tokenizer.vocab_size))
        return {} if found is None else {"merge_counts": found}

    def metadata(self, architecture: Architecture) -> ModelMetadata:
        return ModelMetadata(architecture=architecture, tokenizer=self.tokenizer.to_json())

    def task(self, recipe: Recipe, device: torch.device, dtype: torch.dtype) -> ScoredTask:
        train, validation = self.tokens.train, self._scored()
        lengths, unknown_id = token_lengths(self.tokenizer), self.tokenizer.unknown_id
        return LanguageModelingTask(
            recipe,
            train.ids,
            np.concatenate((np.array([self.tokenizer.end_id], validation.ids.dtype), validation.ids[:])),
            validation.text_bytes,
            train.documents[:-1],
            device,
            dtype,
            TokenBytes(lengths, unknown_id, train.unknown),
            TokenBytes(lengths, unknown_id, validation.unknown),
            validation.unknown,
            MergeDropout(self.tokenizer) if recipe.bpe_dropout else None,
        )

    def sample(self, model: nn.Module, number: int) -> tuple[str, str]:
        """How the model continues held-out text."""
        held_out = self._scored().ids
        start = (number + 1) * (len(held_out) // 7) % max(1, len(held_out) - PROMPT_TOKENS)
        prompt = held_out[start : start + PROMPT_TOKENS].tolist()
        return self.tokenizer.decode(prompt), generate_text(model, self.tokenizer, prompt, SAMPLING)
