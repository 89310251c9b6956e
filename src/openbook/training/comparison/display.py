"""A comparison for people: a table and a picture."""

from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from openbook.training.comparison.compare import Measured
from openbook.training.report.display import duration

COLOURS = ("#0072b2", "#d55e00")  # told apart by colour-blind eyes too (Okabe & Ito)


ALIKE = 0.01
"""Bits a byte that differ by a smaller share than this are no reason to choose: another seed changes them as much."""

FEW = 200
"""Updates after which it shows which model learns better."""


def rows(result: Measured) -> dict[str, str]:
    """What the table says of one kind."""
    return {
        "layers × width": f"{result.layers} × {result.width}",
        "parameters": f"{result.parameters:,}",
        "trained for": f"{duration(result.seconds)}",
        "updates, epochs": f"{result.updates:,}, {result.epochs:.1f}",
        "target tokens a second, learning": f"{result.tokens_per_second:,.0f}",
        "loss, nats a target token": f"{result.nats_per_token:.3f}",
        "bits a byte of target text": f"{result.bits_per_byte:.3f}",
        "perplexity a token": f"{result.perplexity:.1f}",
        "BLEU": f"{result.bleu:.1f}",
        "chrF": f"{result.chrf:.1f}",
        "a sentence alone": f"{1000 * result.latency:.0f} ms",
        "sentences a second, together": f"{result.sentences_per_second:.1f}",
        "memory while training": "not known" if result.megabytes is None else f"{result.megabytes:,.0f} MB",
    }


def comparison_table(results: Sequence[Measured]) -> Table:
    """Both kinds side by side."""
    table = Table("", *(result.kind for result in results), box=None, header_style="bold")
    columns = [rows(result) for result in results]
    for name in columns[0]:
        table.add_row(name, *(column[name] for column in columns))
    return table


def verdict(results: Sequence[Measured]) -> str:
    """The answer in a sentence: bits a byte tell the two apart, which need not have the same tokens."""
    better, other = sorted(results, key=lambda result: result.bits_per_byte)
    figures = f"{better.bits_per_byte:.3f} bits a byte against {other.bits_per_byte:.3f}"
    if other.bits_per_byte < (1 + ALIKE) * better.bits_per_byte:
        return f"On these pairs and in this time the two do alike: {figures}."
    said = f"On these pairs and in this time the {better.kind} model is ahead: {figures}."
    return said if min(better.updates, other.updates) >= FEW else f"{said} After so few updates that may change."


def save_picture(results: Sequence[Measured], path: Path) -> None:
    """Draw how both learned, and what came of it, as PNG or SVG by the suffix of `path`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    learning, *bars = figure.subplots(1, 5, width_ratios=(5, 1, 1, 1, 1))
    for result, colour in zip(results, COLOURS, strict=True):
        if result.curve:
            learning.plot(*zip(*result.curve, strict=True), "o-", color=colour, markersize=4, label=result.kind)
    learning.set_xlabel("seconds")
    learning.set_ylabel("held-out bits a byte of target text")
    learning.legend()
    learning.grid(alpha=0.2)
    least = (10, 10, 0, 0)  # what differs by less than a point shall not look like much
    titles = ("BLEU", "chrF", "tokens learned\na second", "sentences\na second")
    names = ("bleu", "chrf", "tokens_per_second", "sentences_per_second")
    for axes, title, name, top in zip(bars, titles, names, least, strict=True):
        values = [getattr(result, name) for result in results]
        drawn = axes.bar(range(len(values)), values, color=COLOURS)
        axes.bar_label(drawn, [f"{value:,.1f}" if value < 100 else f"{value:,.0f}" for value in values], fontsize=8)
        axes.set_ylim(0, 1.05 * max(top, *values) or 1)
        axes.set_title(title, fontsize=9)
        axes.set_xticks([])
        axes.set_yticks([])
    figure.savefig(path, dpi=120)
