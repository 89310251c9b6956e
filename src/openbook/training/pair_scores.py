"""The score of a translator on whole files of pairs."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from openbook.generation.translation import Translator
from openbook.progress import Track, silent
from openbook.text.input_files import find_files
from openbook.training.data.pair_files import read_all_pairs
from openbook.training.evaluation.translation import TranslationScore, evaluate_translation
from openbook.transformer.transformer import Transformer


def evaluate_pair_files(
    model: Transformer,
    translator: Translator,
    inputs: Sequence[str | Path],
    encoding: str | None = None,
    track: Track = silent,
    bleu_tokenizer: str | None = None,
) -> TranslationScore:
    """Evaluate on the pairs of files, folders and globs; lines without a pair are counted.

    Raises:
        OpenbookError: a file cannot be read, there is no pair, or as `translation_quality`.
    """
    pairs, skipped, notes = read_all_pairs(find_files(inputs), encoding)
    score = evaluate_translation(model, translator, pairs, track, bleu_tokenizer)
    return replace(score, skipped_lines=skipped, notes=tuple(notes))
