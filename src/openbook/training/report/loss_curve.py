"""The loss curve as a picture."""

from pathlib import Path

from openbook.training.loop import Event


def save_curve(events: list[Event], path: Path, scored: str = "held-out") -> None:
    """Draw the training loss and the bits per byte of `scored` text by step, as PNG or SVG by the suffix of `path`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    steps = [event for event in events if event["event"] == "step"]
    scores = [event for event in events if event["event"] == "validation"]
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    loss_colour, score_colour = "#0072b2", "#d55e00"  # a palette for colour-blind eyes too (Okabe & Ito)
    axes.plot([e["step"] for e in steps], [e["loss"] for e in steps], color=loss_colour, alpha=0.25, linewidth=1)
    axes.plot([e["step"] for e in steps], _smooth([e["loss"] for e in steps]), color=loss_colour)
    axes.set_xlabel("step")
    axes.set_ylabel("training loss, nats per token", color=loss_colour)
    if scores:
        right = axes.twinx()
        right.plot([e["step"] for e in scores], [e["score"] for e in scores], "o-", color=score_colour, markersize=4)
        best = min(scores, key=lambda event: event["score"])
        right.annotate(f"best {best['score']:.3f}", (best["step"], best["score"]), (0, 10), textcoords="offset points")
        right.set_ylabel(f"{scored} bits per byte", color=score_colour)
    axes.grid(alpha=0.2)
    figure.savefig(path, dpi=120)


def _smooth(values: list[float]) -> list[float]:
    """An exponential moving average, which shows the trend through the noise of single batches."""
    smooth: list[float] = []
    for value in values:
        smooth.append(value if not smooth else 0.9 * smooth[-1] + 0.1 * value)
    return smooth
