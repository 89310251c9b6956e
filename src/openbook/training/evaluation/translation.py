"""How well a model translates held-out pairs: BLEU and chrF of its translations, and perplexity of the references."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from openbook.generation.engines.torch_engine import TorchEngine
from openbook.generation.scheduling import batch_by_length
from openbook.generation.settings import BeamSearch
from openbook.generation.token_translator import TokenTranslator
from openbook.generation.translation import Sentence, Translation, Translator
from openbook.progress import Track, silent
from openbook.text.tokenizer.tokenizer import Tokenizer
from openbook.text.tokenizer.unknown import NOTHING_UNKNOWN, Unknown, UnknownCounter, total_unknown
from openbook.training.evaluation.perplexity import Score
from openbook.training.evaluation.quality import TranslationQuality, translation_quality
from openbook.training.loss import IGNORE_INDEX, Batch, summed_cross_entropy
from openbook.transformer.mask import positions_of
from openbook.transformer.transformer import Transformer

BATCH_TOKENS = 4096


@dataclass(frozen=True)
class TranslationScore:
    """How well a model does on pairs.

    Attributes:
        quality: of the translations of all sources.
        references: cross-entropy of the references, given their sources.
        pairs: how many.
        seconds: that translating took.
        too_long_sources: sources beyond the model's context; they count as translated by the empty string.
        too_long_pairs: pairs beyond the model's context, those included; they do not count in `references`.
        skipped_lines: lines of the files that have no pair.
        notes: what was guessed or found about the files.
    """

    quality: TranslationQuality
    references: Score
    pairs: int
    seconds: float
    too_long_sources: int
    too_long_pairs: int
    skipped_lines: int = 0
    notes: tuple[str, ...] = ()


class TokenizedPair(NamedTuple):
    """A source with its special tokens, and a target from the decoder's start token to the end token."""

    source: Sequence[int]
    target: Sequence[int]


def score_references(
    model: Transformer,
    pairs: Sequence[TokenizedPair],
    target_bytes: int,
    unknown: Unknown = NOTHING_UNKNOWN,
    names: str = "",
) -> Score:
    """The cross-entropy of all target tokens, each given the source and the target tokens before it.

    Args:
        model: an encoder-decoder, or a decoder-only model that reads the source before the target.
        pairs: the first token of a target is given, not scored. A decoder-only model reads the source's last token
            in its place.
        target_bytes: of the references' text.
        unknown: how much of that text is unknown.
        names: of the most frequent unknown characters or words.
    """
    device = next(model.parameters()).device

    def micro_batches() -> Iterator[Batch]:
        for indices in batch_by_length([len(source) + len(target) for source, target in pairs], BATCH_TOKENS):
            yield _batch(model, [pairs[index] for index in indices], device)

    return Score.priced(*summed_cross_entropy(model, micro_batches()), target_bytes, unknown, names)


def _batch(model: Transformer, pairs: Sequence[TokenizedPair], device: torch.device) -> Batch:
    if model.architecture.is_encoder_decoder:
        source = _pad([source for source, _ in pairs], IGNORE_INDEX, device)
        tokens, labels = [target[:-1] for _, target in pairs], [target[1:] for _, target in pairs]
        positions, source = positions_of(source != IGNORE_INDEX), source.clamp(min=0)
        return Batch(source, positions, _pad(tokens, 0, device), _pad(labels, IGNORE_INDEX, device))
    tokens = [[*source, *target[1:-1]] for source, target in pairs]
    labels = [[*[IGNORE_INDEX] * (len(source) - 1), *target[1:]] for source, target in pairs]
    return Batch(None, None, _pad(tokens, 0, device), _pad(labels, IGNORE_INDEX, device))


def _pad(rows: Sequence[Sequence[int]], value: int, device: torch.device) -> Tensor:
    """(B, T): rows padded on the right."""
    return pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=value).to(device)


def evaluate_translation(
    model: Transformer,
    translator: Translator,
    pairs: Sequence[tuple[str, str]],
    track: Track = silent,
    bleu_tokenizer: str | None = None,
) -> TranslationScore:
    """Translate all sources, compare them with the references, and score the references.

    Args:
        model: the model that `translator` uses.
        translator: how to translate.
        pairs: sources and their references.
        track: shows progress.
        bleu_tokenizer: see `translation_quality`.

    Raises:
        OpenbookError: as `translation_quality`.
    """
    translation_quality([""], [""], bleu_tokenizer)  # raises what is wrong before the long work
    translations: list[Translation] = []
    started = time.perf_counter()
    with track("Translating", len(pairs)) as advance:
        for translation in translator([[Sentence(source) for source, _ in pairs]]):
            translations.append(translation)
            advance(1)
    seconds = time.perf_counter() - started
    too_long_sources, target_bytes, unknown = 0, 0, list[Unknown]()
    counter = UnknownCounter(translator.target_tokenizer)
    tokenized: list[TokenizedPair] = []
    for (source, target), translation in zip(pairs, translations, strict=True):
        if translation.problem is not None:
            too_long_sources += 1
            continue
        pair = TokenizedPair(translator.encode_source(source), translator.encode_target(target))
        length = len(pair.target) + (0 if model.architecture.is_encoder_decoder else len(pair.source))
        if length - 1 <= translator.engine.context:
            tokenized.append(pair)
            target_bytes += len(target.encode())
            unknown.append(counter.count(target, translator.target_tokenizer.encode(target)))
    return TranslationScore(
        quality=translation_quality(
            [each.text for each in translations], [target for _, target in pairs], bleu_tokenizer
        ),
        references=score_references(model, tokenized, target_bytes, total_unknown(unknown), counter.most_common()),
        pairs=len(pairs),
        seconds=seconds,
        too_long_sources=too_long_sources,
        too_long_pairs=len(pairs) - len(tokenized),
    )


@dataclass(frozen=True)
class TranslationSet:
    """Held-out sentences that are translated greedily during training.

    Args:
        sources: token ids with their special tokens.
        references: the references' text.
        tokenizer: decodes the translations.
    """

    sources: Sequence[Sequence[int]]
    references: Sequence[str]
    tokenizer: Tokenizer

    def metrics(self, model: nn.Module) -> dict[str, float]:
        """BLEU, unless it is undefined, and chrF of the translations."""
        quality = self.quality(model)
        bleu = {} if quality.bleu is None else {"bleu": round(quality.bleu, 3)}
        return {**bleu, "chrf": round(quality.chrf, 3)}

    def quality(self, model: nn.Module, bleu_tokenizer: str | None = None) -> TranslationQuality:
        """How good the translations are."""
        return translation_quality(self.translate(model, self.sources), self.references, bleu_tokenizer)

    def translate(self, model: nn.Module, sources: Sequence[Sequence[int]]) -> list[str]:
        """Greedy translations of these sources."""
        assert isinstance(model, Transformer)
        was_training = model.training
        model.eval()
        try:
            engine = TorchEngine(model)
            greedy = BeamSearch(beam_size=1, max_tokens=engine.context)
            translator = TokenTranslator(engine=engine, special=self.tokenizer.special, decoding=greedy)
            translations = [best.tokens for best, *_ in translator([sources])]
        finally:
            model.train(was_training)
        return [self.tokenizer.decode(ids, skip_special=True) for ids in translations]
