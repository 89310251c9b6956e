"""Sentence pairs as what a run learns from (see `dataset.Dataset`)."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from openbook.errors import OpenbookError
from openbook.model_file.atomic import atomic_write
from openbook.model_file.metadata import ModelMetadata
from openbook.progress import Track
from openbook.text.corpus.books import find_books
from openbook.text.tokenizer.bpe_dropout import BpeDropout
from openbook.text.tokenizer.special_tokens import END, PADDING, SEPARATOR, SpecialTokens
from openbook.text.tokenizer.tokenizer import Tokenizer
from openbook.text.tokenizer.training import SAMPLE, train_tokenizer
from openbook.training.data.dataset import Tell
from openbook.training.data.pair_corpus import PairCorpus, prepare_pairs
from openbook.training.data.pair_task import PairRows, Pairs, marks_of
from openbook.training.data.pair_tokens import TokenPairs, sample_pairs, tokenize_pairs
from openbook.training.loop import Event, Listener
from openbook.training.plan.pair_plan import Amount, make_pair_plan, plan_pair_continuation
from openbook.training.plan.plan import Plan
from openbook.training.recipe import Recipe
from openbook.training.report.record import files_record
from openbook.training.report.sample_translations import Translations
from openbook.training.request import Request
from openbook.transformer.architecture import Architecture


@dataclass
class PairDataset:
    """Prepared pairs; `start` is what the model file to go on from says."""

    request: Request
    start: ModelMetadata | None
    track: Track
    corpus: PairCorpus = field(init=False)
    tokenizers: tuple[Tokenizer, Tokenizer] = field(init=False)
    """Those of sources and of targets: the same one twice, or two."""
    train: PairRows = field(init=False)
    validation: PairRows = field(init=False)

    def __post_init__(self) -> None:
        """Read and filter the pairs.

        Raises:
            OpenbookError: there are none.
        """
        request = self.request
        self.corpus = prepare_pairs(
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
            "lines": self.corpus.lines(),
            "expectations": self.corpus.expectations(),
            "train_bytes": self.corpus.train.target_bytes,
            "validation_bytes": self.corpus.validation.target_bytes,
            "pairs": len(self.corpus.train),
        }

    def record(self) -> list[dict[str, Any]]:
        files = find_books([*self.request.inputs, *(self.request.validation or [])])
        return files_record((path, path.stat().st_size) for path in files)

    def plan(self, device: torch.device, clock: Callable[[], float]) -> Plan:
        amount = Amount.of(self.corpus.train)
        if self.start is not None:
            return plan_pair_continuation(amount, self.request.choices, self.start.architecture, device, clock())
        return make_pair_plan(amount, self.request.choices, device, clock())

    def tokenize(self, recipe: Recipe) -> tuple[Recipe, dict[str, Any]]:
        self.tokenizers = source, target = self._tokenizers(recipe)
        train, validation = tokenize_pairs(
            self.corpus, source, target, self.request.folder / "tokens", track=self.track
        )
        self.train, self.validation = (self._rows(tokens, recipe) for tokens in (train, validation))
        if recipe.bpe_dropout:
            self.train = replace(self.train, respelled=self._respelled(recipe))
        if not len(self.train.fitting) or not len(self.validation.fitting):
            raise OpenbookError(
                f"--context {recipe.context}: no pairs to learn from, or none to validate with, have so few tokens; "
                "take a longer one"
            )
        if self.start is None:
            recipe = replace(recipe, vocab_size=target.vocab_size)
        too_long = len(train) - len(self.train.fitting)
        return recipe, {
            "vocab_size": target.vocab_size,
            "train": int(self.train.lengths[self.train.fitting][:, -1].sum()),
            "validation": int(self.validation.lengths[self.validation.fitting][:, -1].sum()),
            "unknown": self._unknown(train),
            "too_long": too_long,
        }

    def _unknown(self, tokens: TokenPairs) -> int:
        """How many training tokens stand for what is not in the vocabulary."""
        sides = zip((tokens.source, tokens.target), self.tokenizers, strict=True)
        return sum(int((side.ids == each.unknown_id).sum()) for side, each in sides if each.unknown_id is not None)

    def _rows(self, tokens: TokenPairs, recipe: Recipe) -> PairRows:
        apart = recipe.encoder_layers > 0
        return PairRows(tokens, marks_of(self._special(apart), apart), apart, recipe.context)

    def _respelled(self, recipe: Recipe) -> Callable[[int, int], tuple[list[int], list[int]]]:
        """Spells a training pair in other pieces."""
        source, target = (BpeDropout(each, recipe.bpe_dropout, recipe.seed) for each in self.tokenizers)
        split = self.corpus.train

        def respelled(number: int, key: int) -> tuple[list[int], list[int]]:
            (pair,) = split.pairs(number, number + 1)
            own = number + (key << 40)
            return source.encode(pair.source, own), target.encode(pair.target, own)

        return respelled

    def _special(self, apart: bool) -> SpecialTokens:
        """What the special tokens are for; in a vocabulary that is learned here, the end token also begins targets."""
        special = self.tokenizers[1].special
        if self.start is not None or not apart:
            return special
        end = special.end[0]
        never = tuple(token for token in (special.padding, special.separator) if token is not None)
        return replace(special, suffix=(end,), decoder_start=end, never=never)

    def _tokenizers(self, recipe: Recipe) -> tuple[Tokenizer, Tokenizer]:
        if self.start is not None:
            return self.start.make_source_tokenizer(), self.start.make_tokenizer()
        if recipe.shared_vocabulary or not recipe.encoder_layers:
            both = self._learned(recipe, "tokenizer", recipe.vocab_size, source=True, target=True)
            return both, both
        source = self._learned(recipe, "tokenizer-source", recipe.vocab_size, source=True, target=False)
        target = self._learned(recipe, "tokenizer-target", source.vocab_size, source=False, target=True)
        if target.vocab_size < source.vocab_size:  # special tokens stand at the end, and at the same place
            source = self._learned(recipe, "tokenizer-smaller", target.vocab_size, source=True, target=False)
        return source, target

    def _learned(self, recipe: Recipe, name: str, vocab_size: int, *, source: bool, target: bool) -> Tokenizer:
        place = self.request.folder / f"{name}.json"
        if place.exists():
            return Tokenizer.from_json(place.read_text("utf-8"))
        sentences = sample_pairs(self.corpus.train, SAMPLE, source=source, target=target)
        special = (END, PADDING, SEPARATOR)
        tokenizer = train_tokenizer(sentences, recipe.tokenizer, vocab_size, special, sentences=True, track=self.track)
        with atomic_write(place) as file:
            file.write(tokenizer.to_json().encode())
        return tokenizer

    def contents(self, architecture: Architecture) -> ModelMetadata:
        source, target = self.tokenizers
        return ModelMetadata(
            architecture=architecture,
            tokenizer=target.to_json(),
            source_tokenizer=None if source is target else source.to_json(),
            special_tokens=self._special(architecture.encoder is not None),
        )

    def task(self, recipe: Recipe, device: torch.device, dtype: torch.dtype) -> Pairs:
        return Pairs(recipe, self.train, self.validation, device, dtype, self.translations(recipe.translations))

    def translations(self, most: int) -> Translations:
        """Held-out pairs, spread evenly over all, as sentences to translate; after `tokenize`."""
        rows, held_out = self.validation, self.corpus.validation
        places = np.linspace(0, len(rows.fitting) - 1, min(most, len(rows.fitting)), dtype=np.int64)
        numbers = rows.fitting[places].tolist()
        return Translations(
            [rows.source(number).tolist() for number in numbers],
            [next(held_out.pairs(number, number + 1)).target for number in numbers],
            self.tokenizers[1],
        )

    def samples(self, model: nn.Module, every: float, tell: Tell) -> Listener:
        """A held-out sentence and its translation after a validation, if the last is `every` seconds old."""
        translations = self.translations(50)
        count, due = 0, every

        def sample(event: Event) -> None:
            nonlocal count, due
            if event["event"] != "validation" or event["seconds"] < due:
                return
            due = event["seconds"] + every
            source = translations.sources[(7 * count) % len(translations.sources)]
            count += 1
            (written,) = translations.write(model, [source])
            tell(self.tokenizers[0].decode(source, skip_special=True), f" → {written}")

        return sample
