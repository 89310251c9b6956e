"""How well a model of pairs does on held-out ones: what it guesses of the targets, and what it translates itself."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from openbook.errors import OpenbookError
from openbook.generation.scheduling import batch_by_length
from openbook.generation.translation import Sentence, Translation, Translator
from openbook.progress import Track, silent
from openbook.text.input_files import find_files
from openbook.training.data.batching import pad
from openbook.training.data.pair_files import Pair, find_pair_files, read_pairs
from openbook.training.evaluation.perplexity import Score
from openbook.training.loss import IGNORE_INDEX, Batch, summed_cross_entropy
from openbook.transformer.mask import positions_of
from openbook.transformer.transformer import Transformer

BATCH_TOKENS = 4096


@dataclass(frozen=True)
class Written:
    """BLEU (Papineni et al. 2002) and chrF (Popović 2015) of translations, with what sacrebleu says they are."""

    bleu: float
    chrf: float
    bleu_signature: str
    chrf_signature: str


@dataclass(frozen=True)
class PairScore:
    """How a model does on pairs.

    `written` scores its translations of all `pairs`, made in `seconds`, and `guessed` the targets. Of the lines of the
    files, `bad_lines` had no pair; of the sources, `untranslated` were too long for the model, and count as translated
    by nothing; `unguessed` pairs were too long for guessing, and do not count there.
    """

    written: Written
    guessed: Score
    pairs: int
    seconds: float
    bad_lines: int
    untranslated: int
    unguessed: int


def score_translations(translations: Sequence[str], references: Sequence[str]) -> Written:
    """Cased BLEU with 13a tokens and chrF2 over all sentences together, by sacrebleu (Post 2018)."""
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    bleu, chrf = BLEU(force=True), CHRF()
    bleu_score = bleu.corpus_score(list(translations), [list(references)])
    chrf_score = chrf.corpus_score(list(translations), [list(references)])
    return Written(bleu_score.score, chrf_score.score, str(bleu.get_signature()), str(chrf.get_signature()))


def score_targets(
    model: Transformer, sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]], target_bytes: int
) -> Score:
    """The surprise of all target tokens, each guessed from the source and the true tokens before it.

    Args:
        model: an encoder-decoder, or a decoder-only one that reads the source before the target.
        sources: token ids with all that stands around them.
        targets: token ids from what the decoder begins with to the end token; the first is given, not guessed. Of a
            decoder-only model the source's last token is that.
        target_bytes: of their text.
    """
    device = next(model.parameters()).device

    def made() -> Iterator[Batch]:
        for places in batch_by_length([len(s) + len(t) for s, t in zip(sources, targets, strict=True)], BATCH_TOKENS):
            yield _batch(model, [sources[place] for place in places], [targets[place] for place in places], device)

    return Score(*summed_cross_entropy(model, made()), target_bytes)


def _batch(
    model: Transformer, sources: list[Sequence[int]], targets: list[Sequence[int]], device: torch.device
) -> Batch:
    if model.architecture.is_encoder_decoder:
        source = _padded(sources, IGNORE_INDEX, device)
        positions = positions_of(source != IGNORE_INDEX)
        read, told = [target[:-1] for target in targets], [target[1:] for target in targets]
        return Batch(source.clamp(min=0), positions, _padded(read, 0, device), _padded(told, IGNORE_INDEX, device))
    pairs = list(zip(sources, targets, strict=True))
    read = [[*source, *target[1:-1]] for source, target in pairs]
    told = [[*[IGNORE_INDEX] * (len(source) - 1), *target[1:]] for source, target in pairs]
    return Batch(None, None, _padded(read, 0, device), _padded(told, IGNORE_INDEX, device))


def _padded(rows: list[Sequence[int]], fill: int, device: torch.device) -> Tensor:
    return pad([np.array(row, np.int64) for row in rows], fill).to(device)


def evaluate_pairs(
    model: Transformer, translator: Translator, files: Sequence[str | Path], track: Track = silent
) -> PairScore:
    """Translate all sources, compare with the targets, and score how well the targets are guessed.

    Raises:
        OpenbookError: a file cannot be read, two differ in their number of lines, or there is no pair.
    """
    pairs, bad_lines = _read(files)
    translations: list[Translation] = []
    start = time.perf_counter()
    with track("Translating", len(pairs)) as advance:
        for translation in translator([[Sentence(pair.source) for pair in pairs]]):
            translations.append(translation)
            advance(1)
    seconds = time.perf_counter() - start
    kept = [place for place, each in enumerate(translations) if each.problem is None]
    context, rows = translator.engine.context, []
    for place in kept:
        source, target = translator.encode_source(pairs[place].source), translator.encode_target(pairs[place].target)
        longest = len(target) + (0 if model.architecture.is_encoder_decoder else len(source))
        if longest - 1 <= context:
            rows.append((source, target, len(pairs[place].target.encode())))
    guessed = score_targets(model, [row[0] for row in rows], [row[1] for row in rows], sum(row[2] for row in rows))
    return PairScore(
        written=score_translations([each.text for each in translations], [pair.target for pair in pairs]),
        guessed=guessed,
        pairs=len(pairs),
        seconds=seconds,
        bad_lines=bad_lines,
        untranslated=len(pairs) - len(kept),
        unguessed=len(pairs) - len(rows),
    )


def _read(files: Sequence[str | Path]) -> tuple[list[Pair], int]:
    """All pairs of the files, and how many lines have none."""
    pairs: list[Pair] = []
    bad = 0
    for file in find_pair_files(find_files(files)):
        for _, pair in read_pairs(file):
            if isinstance(pair, Pair) and pair.source.strip() and pair.target.strip():
                pairs.append(pair)
            else:
                bad += 1
    if not pairs:
        raise OpenbookError("there are no pairs to score; give lines of source, tab, target")
    return pairs, bad
