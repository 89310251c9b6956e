"""The loss curve as a picture."""

from pathlib import Path

from openbook.text.input_files import WORKING
from openbook.training.loop import Event
from openbook.training.report.recent_mean import RecentMean


def save_curve(events: list[Event], path: Path, scored: str = "held-out") -> None:
    """Draw the bits per byte of training batches and of `scored` text by step, as PNG or SVG by the suffix of `path`.

    Both are drawn on one axis. The title is the name of the model, by the folder that holds the picture.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    steps = [event for event in events if event["event"] == "step" and "bits_per_byte" in event]
    scores = [event for event in events if event["event"] == "validation"]
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    training, validation = "#0072b2", "#d55e00"  # a palette for colour-blind eyes too (Okabe & Ito)
    numbers, bits, mean = [e["step"] for e in steps], [e["bits_per_byte"] for e in steps], RecentMean()
    if steps:
        axes.plot(numbers, bits, color=training, alpha=0.25, linewidth=1, label="training, each step")
        axes.plot(numbers, list(map(mean.add, bits)), color=training, label="training, mean of the last steps")
    if scores:
        places, values = [e["step"] for e in scores], [e["score"] for e in scores]
        axes.plot(places, values, "o-", color=validation, markersize=4, label=f"{scored} text")
        best = min(scores, key=lambda event: event["score"])
        text = f"best {best['score']:.3f}"
        point = (best["step"], best["score"])
        axes.annotate(text, point, (4, 10), textcoords="offset points", horizontalalignment="right")
    axes.set_title(path.parent.name.removesuffix(WORKING))
    axes.set_xlabel("step")
    axes.set_ylabel("bits per byte")
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if steps or scores:
        axes.legend()
    axes.grid(alpha=0.2)
    figure.savefig(path, dpi=120)
