"""Sentence pairs as a dataset: prepared text, its tokens and the translation task."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from openbook.errors import SettingError
from openbook.model_file.metadata import ModelMetadata
from openbook.text.tokenizer.bpe_dropout import BpeDropout
from openbook.text.tokenizer.merge_counts import count_tokens, merge_counts
from openbook.text.tokenizer.special_tokens import END, PADDING, SEPARATOR, SpecialTokens
from openbook.text.tokenizer.tokenizer import Tokenizer
from openbook.text.tokenizer.training import TRAINING_SAMPLE_BYTES, train_tokenizer
from openbook.text.tokenizer.unknown import token_lengths
from openbook.training.data.dataset import Dataset
from openbook.training.data.pair_corpus import PairCorpus, prepare_pairs
from openbook.training.data.tokenization import TokenizedPairs, tokenize_pairs
from openbook.training.data.translation_task import PairSequences, PairTemplate, TranslationTask
from openbook.training.evaluation.perplexity import TokenBytes
from openbook.training.evaluation.translation import TranslationSet
from openbook.training.plan.fine_tuning import BaseModel, plan_fine_tuning
from openbook.training.plan.pair_rules import PairRules
from openbook.training.plan.plan import Plan, make_plan
from openbook.training.plan.tiny import MAXIMUM_BYTES, plan_tiny, too_large
from openbook.training.recipe import Recipe
from openbook.transformer.architecture import Architecture


@dataclass
class PairDataset(Dataset):
    """Sentences and their translations.

    Raises:
        OpenbookError: there are no pairs.
    """

    corpus: PairCorpus = field(init=False)
    tokenizers: tuple[Tokenizer, Tokenizer] = field(init=False)
    """Of sources and of targets: the same one twice, or two."""
    train: PairSequences = field(init=False)
    validation: PairSequences = field(init=False)

    def __post_init__(self) -> None:
        self.corpus = self._prepare(prepare_pairs)

    @property
    def fingerprint(self) -> str:
        return self.corpus.fingerprint

    def summary(self) -> dict[str, Any]:
        return {
            "lines": self.corpus.lines(),
            "expectations": self.corpus.expectations(),
            "train_bytes": self.corpus.train.target_bytes,
            "validation_bytes": self.corpus.validation.target_bytes,
            "pairs": len(self.corpus.train),
            "scored": "learned" if self.learns_all else "held-out",
        }

    def plan(self, device: torch.device, clock: Callable[[], float]) -> Plan:
        train = self.corpus.train
        if self.request.tiny:
            return self._plan_tiny()
        longer_side = np.maximum(train.index["source"], train.index["target"])
        rules = PairRules(len(train), train.source_bytes, train.target_bytes, float(np.quantile(longer_side, 0.995)))
        if self.base is not None:
            base = BaseModel(self.base.architecture, lora=self.request.lora_rank is not None)
            return plan_fine_tuning(rules, self.request.choices, base, device, clock())
        return make_plan(rules, self.request.choices, device, clock())

    def _plan_tiny(self) -> Plan:
        texts = [text for pair in self.corpus.train.pairs() for text in (pair.source, pair.target)]
        size = sum(len(text.encode()) for text in texts)
        if size > MAXIMUM_BYTES:
            raise too_large(size)
        encoder = self.request.choices.get("encoder_layers") != 0
        return plan_tiny(texts, 4, self.request.choices, encoder=encoder, sides=1 if encoder else 2)

    def tokenize(self, recipe: Recipe) -> tuple[Recipe, dict[str, Any]]:
        self.tokenizers = source, target = self._tokenizers(recipe)
        folder = self.request.folder / "tokens"
        train, validation = tokenize_pairs(self.corpus, source, target, folder, track=self.track)
        self.train = self._sequences(train, recipe)
        self.validation = self.train if self.learns_all else self._sequences(validation, recipe)
        if recipe.bpe_dropout:
            self.train = replace(self.train, resample=self._bpe_dropout(recipe))
        if not len(self.train.fitting) or not len(self.validation.fitting):
            raise SettingError(
                f"`context` {recipe.context}: no pairs to learn from, or none to validate with, have so few tokens; "
                "take a longer one"
            )
        if self.base is None:
            recipe = replace(recipe, vocab_size=target.vocab_size)
        return recipe, {
            "vocab_size": target.vocab_size,
            "train": self.train.target_tokens,
            "validation": self.validation.target_tokens,
            "unknown": self._unknown(train),
            "validation_unknown": validation.unknown(np.arange(len(validation))).tokens,
            "too_long": len(train) - len(self.train.fitting),
        }

    def _unknown(self, tokens: TokenizedPairs) -> int:
        """How many training tokens stand for what is not in the vocabulary."""
        sides = zip((tokens.source, tokens.target), self.tokenizers, strict=True)
        return sum(int((side.ids == each.unknown_id).sum()) for side, each in sides if each.unknown_id is not None)

    def _sequences(self, tokens: TokenizedPairs, recipe: Recipe) -> PairSequences:
        has_encoder = recipe.encoder_layers > 0
        template = PairTemplate.of(self._special(has_encoder), has_encoder)
        return PairSequences(tokens, template, has_encoder, recipe.context, self.request.side_tokens)

    def _bpe_dropout(self, recipe: Recipe) -> Callable[[int, int], tuple[list[int], list[int]]]:
        """Encodes a training pair with BPE dropout (see `PairSequences.resample`)."""
        source, target = (BpeDropout(each, recipe.bpe_dropout, recipe.seed) for each in self.tokenizers)
        split = self.corpus.train

        def encode(index: int, key: int) -> tuple[list[int], list[int]]:
            (pair,) = split.pairs(index, index + 1)
            pair_key = index + (key << 40)
            return source.encode(pair.source, pair_key), target.encode(pair.target, pair_key)

        return encode

    def _special(self, has_encoder: bool) -> SpecialTokens:
        """What the special tokens are for. In a new vocabulary the end-of-text token also starts the decoder."""
        special = self.tokenizers[1].special
        if self.base is not None or not has_encoder:
            return special
        end = special.end[0]
        never = tuple(token for token in (special.padding, special.separator) if token is not None)
        return replace(special, suffix=(end,), decoder_start=end, suppressed=never)

    def _tokenizers(self, recipe: Recipe) -> tuple[Tokenizer, Tokenizer]:
        if self.base is not None:
            return self.base.make_source_tokenizer(), self.base.make_tokenizer()
        if recipe.shared_vocabulary or not recipe.encoder_layers:
            both = self._side_tokenizer(recipe, "tokenizer", recipe.vocab_size, source=True, target=True)
            return both, both
        source = self._side_tokenizer(recipe, "tokenizer-source", recipe.vocab_size, source=True, target=False)
        target = self._side_tokenizer(recipe, "tokenizer-target", source.vocab_size, source=False, target=True)
        if target.vocab_size < source.vocab_size:  # special tokens come last, and need the same ids in both
            source = self._side_tokenizer(recipe, "tokenizer-smaller", target.vocab_size, source=True, target=False)
        return source, target

    def _side_tokenizer(self, recipe: Recipe, name: str, vocab_size: int, *, source: bool, target: bool) -> Tokenizer:
        """The tokenizer of the sources, of the targets or of both."""
        special = (END, PADDING, SEPARATOR)

        def train() -> Tokenizer:
            sentences = self.corpus.train.sample(TRAINING_SAMPLE_BYTES, source=source, target=target)
            return train_tokenizer(sentences, recipe.tokenizer, vocab_size, special, sentences=True, track=self.track)

        return self._load_or_train(name, [recipe.tokenizer, vocab_size, source, target], train)

    def merge_counts(self) -> dict[str, list[int]]:
        if self.base is not None:
            return super().merge_counts()
        source, target = self.tokenizers
        sides = (self.train.tokens.source.ids, self.train.tokens.target.ids)
        size = max(source.vocab_size, target.vocab_size)
        of_source, of_target = (count_tokens(ids, size) for ids in sides)
        if source is target:
            of_target = of_source + of_target
        counted = {
            "merge_counts": merge_counts(target, of_target),
            "source_merge_counts": None if source is target else merge_counts(source, of_source),
        }
        return {name: counts for name, counts in counted.items() if counts is not None}

    def metadata(self, architecture: Architecture) -> ModelMetadata:
        source, target = self.tokenizers
        return ModelMetadata(
            architecture=architecture,
            tokenizer=target.to_json(),
            source_tokenizer=None if source is target else source.to_json(),
            special_tokens=self._special(architecture.encoder is not None),
        )

    def task(self, recipe: Recipe, device: torch.device, dtype: torch.dtype) -> TranslationTask:
        translations = self.translations(recipe.validation_translations)
        target = self.tokenizers[1]
        unknown = self.train.tokens.unknown(self.train.fitting)
        token_bytes = TokenBytes(token_lengths(target), target.unknown_id, unknown)
        return TranslationTask(recipe, self.train, self.validation, device, dtype, token_bytes, translations)

    def translations(self, most: int) -> TranslationSet:
        """At most so many held-out pairs, evenly spread, as sentences to translate; call `tokenize` first."""
        sequences, held_out = self.validation, self.corpus.train if self.learns_all else self.corpus.validation
        places = np.linspace(0, len(sequences.fitting) - 1, min(most, len(sequences.fitting)), dtype=np.int64)
        indices = sequences.fitting[places].tolist()
        return TranslationSet(
            [sequences.source(index).tolist() for index in indices],
            [next(held_out.pairs(index, index + 1)).target for index in indices],
            self.tokenizers[1],
        )

    def sample(self, model: nn.Module, number: int) -> tuple[str, str]:
        """A held-out sentence and its translation."""
        translations = self.translations(50)
        source = translations.sources[(7 * number) % len(translations.sources)]
        (written,) = translations.translate(model, [source])
        return self.tokenizers[0].decode(source, skip_special=True), f" → {written}"
