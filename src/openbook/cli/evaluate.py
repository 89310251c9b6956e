"""`openbook evaluate`: how well a model predicts texts or translates pairs."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from openbook.cli.arguments import BLEU_TOKENIZER, DEVICE, ENCODING, ENGINE, JSON, MODEL
from openbook.errors import OpenbookError
from openbook.text.formatting import format_count
from openbook.text.output import write
from openbook.text.printable import json_line

if TYPE_CHECKING:
    from openbook.training.evaluation.perplexity import Score
    from openbook.training.evaluation.translation import TranslationScore


def evaluate(
    model: MODEL,
    files: Annotated[
        list[str], typer.Argument(help="texts, or sentence pairs: files, folders, globs", show_default=False)
    ],
    context: Annotated[
        int | None, typer.Option(help="texts: tokens of each window (default: the model's context)")
    ] = None,
    stride: Annotated[
        int | None, typer.Option(help="texts: tokens between windows (default: half the context)")
    ] = None,
    beam_size: Annotated[int | None, typer.Option(help="pairs: beam size; 1 is greedy")] = None,
    length_penalty: Annotated[
        float | None, typer.Option(help="pairs: above 1 prefers long translations, below 1 short ones")
    ] = None,
    target_language: Annotated[str | None, typer.Option(help="pairs: target language code")] = None,
    source_language: Annotated[str | None, typer.Option(help="pairs: source language code")] = None,
    bleu_tokenizer: BLEU_TOKENIZER = None,
    encoding: ENCODING = None,
    as_json: JSON = False,
    device: DEVICE = "auto",
    engine: ENGINE = "auto",
) -> None:
    """Score a model on held-out files: perplexity and bits per byte of texts; BLEU, chrF and perplexity of pairs.

    [bold]Examples[/bold]

      openbook evaluate austen.openbook heldout.txt
      openbook evaluate en-de.openbook test.tsv
      openbook evaluate en-de.openbook test.en test.de --beam-size 1
    """
    from openbook.model import load
    from openbook.progress import bars

    opened = load(model, device, engine)
    for_pairs = {
        "beam_size": beam_size, "length_penalty": length_penalty,
        "target_language": target_language, "source_language": source_language,
    }  # fmt: skip
    for_pairs = {name: value for name, value in for_pairs.items() if value is not None}
    if opened.translates:
        if context is not None or stride is not None:
            raise OpenbookError("--context and --stride are for texts; this model translates pairs")
        opened.open_engine(bars)
        print_translation_score(
            opened.evaluate_pairs(files, encoding=encoding, track=bars, bleu_tokenizer=bleu_tokenizer, **for_pairs),
            as_json,
        )
        return
    if bleu_tokenizer is not None:
        for_pairs["bleu_tokenizer"] = bleu_tokenizer
    if for_pairs:
        raise OpenbookError(
            f"--{next(iter(for_pairs)).replace('_', '-')} is for translators; this model predicts texts"
        )
    if engine not in ("auto", "torch"):
        raise OpenbookError("--engine is for translators; texts are scored by the PyTorch model")
    print_score(opened.evaluate(files, context=context, stride=stride, encoding=encoding, track=bars), as_json)


def print_score(score: "Score", as_json: bool) -> None:
    """Print how well a model predicts texts."""
    facts = {
        "bits_per_byte": score.bits_per_byte, "perplexity": score.perplexity,
        "tokens": score.tokens, "bytes": score.bytes,
        "unknown_tokens": score.unknown, "unknown_bytes": score.unknown_bytes, "notes": score.notes,
    }  # fmt: skip
    if as_json:
        write(json_line(facts))
    else:
        write(f"{score.bits_per_byte:.4f} bits per byte, perplexity {score.perplexity:.2f} per token")
        write(f"over {format_count(score.tokens, 'token')}, {format_count(score.bytes, 'byte')}")
        for note in filter(None, (score.unknown_said, *score.notes)):
            write(note)


def print_translation_score(score: "TranslationScore", as_json: bool) -> None:
    """Print how well a model translates pairs."""
    quality, references = score.quality, score.references
    if as_json:
        facts: dict[str, Any] = {
            "bleu": quality.bleu, "chrf": quality.chrf, "bleu_signature": quality.bleu_signature,
            "chrf_signature": quality.chrf_signature, "perplexity": references.perplexity,
            "bits_per_byte": references.bits_per_byte, "pairs": score.pairs, "seconds": score.seconds,
            "skipped_lines": score.skipped_lines, "too_long_sources": score.too_long_sources,
            "too_long_pairs": score.too_long_pairs, "unknown_tokens": references.unknown,
            "unknown_bytes": references.unknown_bytes, "notes": [*filter(None, [quality.note]), *score.notes],
        }  # fmt: skip
        write(json_line(facts))
        return
    write(f"BLEU {'–' if quality.bleu is None else f'{quality.bleu:.1f}'}   {quality.bleu_signature}")
    write(f"chrF {quality.chrf:.1f}   {quality.chrf_signature}")
    write(f"perplexity {references.perplexity:.2f} per target token, {references.bits_per_byte:.4f} bits per byte")
    write(
        f"over {format_count(score.pairs, 'pair')}, {score.pairs / score.seconds:.1f} sentences translated per second"
    )
    for count, noun, explanation in (
        (score.skipped_lines, "line", "without a pair, skipped"),
        (score.too_long_sources, "source", "too long for the model, scored as an empty translation"),
        (score.too_long_pairs - score.too_long_sources, "more pair", "too long for the model's perplexity"),
    ):
        if count:
            write(f"{format_count(count, noun)} {explanation}")
    for note in filter(None, (quality.note, references.unknown_said, *score.notes)):
        write(note)
