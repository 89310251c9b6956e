"""A comparison for people: a table, a sentence and a picture."""

from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from openbook.training.comparison.result import ComparisonResult
from openbook.training.report.display import format_duration

COLOURS = ("#0072b2", "#d55e00")  # a palette for colour-blind eyes too (Okabe & Ito)

SAME = 0.01
"""Relative difference in bits per byte below which two models count as equal: another seed changes as much."""

FEW_STEPS = 200
"""Steps below which the order may still change."""


def comparison_rows(result: ComparisonResult) -> dict[str, str]:
    """The table's column for one kind, by row."""
    return {
        "layers × width": f"{result.layers} × {result.width}",
        "parameters": f"{result.parameters:,}",
        "training time": format_duration(result.seconds),
        "steps, epochs": f"{result.steps:,}, {result.epochs:.1f}",
        "target tokens per second, training": f"{result.tokens_per_second:,.0f}",
        "loss, nats per target token": f"{result.nats_per_token:.3f}",
        "held-out pairs": f"{result.pairs:,}",
        "bits per byte of target text": f"{result.bits_per_byte:.3f}",
        "perplexity per token": f"{result.perplexity:.1f}",
        "unknown target tokens": f"{result.unknown:,}",
        f"BLEU ({bleu_tokenizer(result)})": "–" if result.bleu is None else f"{result.bleu:.1f}",
        "chrF": f"{result.chrf:.1f}",
        "latency of one sentence": f"{1000 * result.latency:.0f} ms",
        "sentences per second, in batches": f"{result.sentences_per_second:.1f}",
        "peak memory, training": "unknown" if result.megabytes is None else f"{result.megabytes:,.0f} MB",
    }


def bleu_tokenizer(result: ComparisonResult) -> str:
    """How BLEU splits text, by its signature."""
    return result.bleu_signature.partition("tok:")[2].partition("|")[0]


def notes(results: Sequence[ComparisonResult]) -> list[str]:
    """What has to be known about the figures."""
    first = results[0]
    sample = f"The curves are of {first.curve_pairs:,} of the {first.pairs:,} held-out pairs; the table is of all."
    return [*filter(None, [first.note]), *([sample] if first.curve_pairs < first.pairs else [])]


def comparison_table(results: Sequence[ComparisonResult]) -> Table:
    """Both kinds side by side."""
    table = Table("", *(result.kind for result in results), box=None, header_style="bold")
    columns = [comparison_rows(result) for result in results]
    for name in columns[0]:
        table.add_row(name, *(column[name] for column in columns))
    return table


def verdict(results: Sequence[ComparisonResult]) -> str:
    """The answer in a sentence, by bits per byte, which do not depend on the tokenizer."""
    better, other = sorted(results, key=lambda result: result.bits_per_byte)
    figures = f"{better.bits_per_byte:.3f} bits per byte against {other.bits_per_byte:.3f}"
    if other.bits_per_byte < (1 + SAME) * better.bits_per_byte:
        return f"On these pairs and in this time both do equally well: {figures}."
    sentence = f"On these pairs and in this time the {better.kind} model is ahead: {figures}."
    few = min(better.steps, other.steps) < FEW_STEPS
    return f"{sentence} After so few steps that may change." if few else sentence


def save_picture(results: Sequence[ComparisonResult], path: Path) -> None:
    """Draw the curves and the figures of both, as PNG or SVG by the suffix of `path`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    curves, *bars = figure.subplots(1, 5, width_ratios=(5, 1, 1, 1, 1))
    for result, colour in zip(results, COLOURS, strict=True):
        if result.curve:
            curves.plot(*zip(*result.curve, strict=True), "o-", color=colour, markersize=4, label=result.kind)
        label = f"{result.kind}, in the end: {result.bits_per_byte:.3f}"
        curves.plot([result.seconds], [result.bits_per_byte], "D", color=colour, markersize=7, label=label)
    first = results[0]
    sample = "" if first.curve_pairs == first.pairs else f"; lines: {first.curve_pairs:,} of them"
    curves.set_title(f"{first.pairs:,} held-out pairs{sample}", fontsize=9)
    curves.set_xlabel("seconds since the start")
    curves.set_ylabel("held-out bits per byte of target text")
    curves.set_xlim(left=0)
    curves.ticklabel_format(useOffset=False)
    curves.legend()
    curves.grid(alpha=0.2)
    names = ("bleu", "chrf", "tokens_per_second", "sentences_per_second")
    titles = ("BLEU", "chrF", "training\ntokens/s", "sentences/s")
    tops = (10, 10, 0, 0)  # so that a difference of less than a point looks small
    for axes, name, title, top in zip(bars, names, titles, tops, strict=True):
        values = [getattr(result, name) or 0.0 for result in results]
        drawn = axes.bar(range(len(values)), values, color=COLOURS)
        axes.bar_label(drawn, [f"{value:,.1f}" if value < 100 else f"{value:,.0f}" for value in values], fontsize=8)
        axes.set_ylim(0, 1.05 * max(top, *values) or 1)
        axes.set_title(title, fontsize=9)
        axes.set_xticks([])
        axes.set_yticks([])
    figure.savefig(path, dpi=120)
