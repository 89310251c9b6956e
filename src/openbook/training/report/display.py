"""What a user sees of a run: the plan, a live line during training, validation scores, samples and the result."""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from openbook.text.formatting import format_count
from openbook.training.report.recent_mean import RecentMean

if TYPE_CHECKING:
    from openbook.training.loop import Event


class Display:
    """Shows events (see `loop.Callback`): live on a terminal, else a line for each validation."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._live: Live | None = None
        self._training = RecentMean()
        self._tokens_per_second = 0.0
        self._score: float | None = None
        self._validated_fraction = 1.0
        self._score_name = "held-out"
        self._last_step = (0, 0.0)
        self._warned = False
        self._refreshed = 0.0
        self._start: tuple[float, float] | None = None

    def __call__(self, event: "Event") -> None:
        """Show one event; unknown ones are ignored."""
        show = getattr(self, f"_show_{event['event']}", None)
        if show is not None:
            show(event)

    def close(self) -> None:
        """End the live line."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _show_prepared(self, event: "Event") -> None:
        self._score_name = event.get("scored", self._score_name)
        for line in event["lines"]:
            self.console.print(escape(line), highlight=False)
        if event["expectations"]:
            self.console.print(escape(event["expectations"]), style="yellow", highlight=False)

    def _show_plan(self, event: "Event") -> None:
        self.console.print(plan_table(event))

    def _show_tokens(self, event: "Event") -> None:
        if event.get("too_long"):
            self.console.print(f"Left out {event['too_long']:,} longer than the context.")
        held_out = f" {event['validation']:,} held out," if self._score_name == "held-out" else ""
        line = f"{format_count(event['train'], 'token')} to train on,{held_out} vocabulary size {event['vocab_size']:,}"
        if event["unknown"] or event.get("validation_unknown"):
            line += f"; {format_count(event['unknown'], 'unknown token')} (not in the vocabulary)"
            line += f" and {event['validation_unknown']:,} held out" if event.get("validation_unknown") else ""
            line += "; scores count each of their bytes as 8 bits"
        self.console.print(line, highlight=False)

    def _show_resume(self, event: "Event") -> None:
        self._last_step = (event["step"], event["seconds"])
        self.console.print(f"Resuming at step {event['step']:,}, after {format_duration(event['seconds'])}.")

    def _show_step(self, event: "Event") -> None:
        self._training.add(event["bits_per_byte"])
        step, seconds = self._last_step
        spent = event["seconds"] - seconds
        if step and spent > 0:
            rate = event["tokens"] * (event["step"] - step) / spent
            self._tokens_per_second = _average(self._tokens_per_second, rate)
        self._last_step = (event["step"], event["seconds"])
        if self._live is None and self.console.is_terminal:
            self._live = Live(console=self.console, refresh_per_second=4, transient=True)
            self._live.start()
        if self._live is not None and time.monotonic() - self._refreshed > 0.2:
            self._refreshed = time.monotonic()
            self._live.update(self._line(event))

    def _line(self, event: "Event") -> Table:
        done = event["progress"]
        started, begun = self._start = self._start or (event["progress"], event["seconds"])
        left = (event["seconds"] - begun) * (1 - done) / (done - started) if done > started else 0.0
        score = "" if self._score is None else f", {self._score_name} {self._score:.3f}"
        bits = f"training {self._training.value:.3f}{score} bits per byte"
        facts = f"{bits}  {self._tokens_per_second:,.0f} tokens/s  {format_duration(left)} left"
        line = Table.grid(padding=(0, 1))
        line.add_row(f"step {event['step']:,}", ProgressBar(total=1.0, completed=done, width=20), facts)
        return line

    def _show_validation(self, event: "Event") -> None:
        self._score = event["score"]
        self._validated_fraction = event.get("fraction", 1.0)
        best = "  best so far" if event["score"] <= event["best"] else f"  (best {event['best']:.3f})"
        scores = f"training {self._training.value:.3f}, {self._score_name} {event['score']:.3f} bits per byte"
        self.console.print(
            f"step {event['step']:>7,}  {format_duration(event['seconds']):>7}  {scores}{quality(event)}{best}",
            highlight=False,
        )
        if event["stale"] >= 2 and not self._warned and self._score_name == "held-out":
            self._warned = True
            self.console.print(
                "The held-out score no longer improves: the model begins to overfit. The best weights are kept. More "
                "text, more --dropout or fewer --minutes would help.",
                style="yellow",
            )

    def _show_sample(self, event: "Event") -> None:
        text = Text.assemble((event["prompt"], "dim"), event["text"], style="italic")
        self.console.print(Padding(text, (0, 0, 0, 4)))

    def _show_ended(self, event: "Event") -> None:
        self.close()

    def _show_saved(self, event: "Event") -> None:
        how = {
            "finished": "Finished",
            "learned": "Finished, every answer being known,",
            "stopped early": "Stopped early, without improvement",
            "interrupted": "Interrupted",
        }
        fraction, steps = event.get("scored_fraction", 1.0), format_count(event["step"], "step")
        text = (
            f"{self._score_name} text" if fraction == 1 else f"a sample, {fraction:.0%} of the {self._score_name} text"
        )
        if self._validated_fraction < fraction:
            text += f" (validations take a sample, {self._validated_fraction:.1%})"
        self.console.print(
            f"{how[event['stop_reason']]} after {steps} and {format_duration(event['seconds'])}: "
            f"[bold]{event['bits_per_byte']:.3f} bits per byte{quality(event)}[/bold] on {text}, with "
            f"the weights of step {event['best_step']:,}.\n"
            f"Saved {escape(event['path'])}; loss curve in {escape(event['curve'])}.",
            highlight=False,
        )
        if (unknown := event.get("conversations", 0) - event.get("known", 0)) and event["stop_reason"] == "finished":
            self.console.print(
                f"{unknown:,} of the answers are not known yet. More --steps (now {event['step']:,}) would teach them, "
                "unless they contradict each other.",
                style="yellow",
                highlight=False,
            )
        if event["stop_reason"] == "interrupted":
            self.console.print("The same command resumes.")


def _average(average: float, value: float) -> float:
    """The exponential moving average after another value; 0 before the first."""
    return value if not average else 0.9 * average + 0.1 * value


def plan_table(event: Mapping[str, Any]) -> Table:
    """The plan: what was chosen, and why."""
    recipe, reasons = event["recipe"], event["reasons"]
    budget = format_count(recipe["steps"] or recipe["minutes"], "step" if recipe["steps"] else "minute")
    duration = f"about {format_duration(event['expected'])} in all"
    if recipe["stop_when_known"]:
        budget, duration = f"until all is known, {budget} at most", f"{duration}, at most"
    gate = "gated " if recipe["gated"] else ""
    rate = "matrix_lr" if recipe["optimizer"] == "muon" else "adamw_lr"
    encoder = f"{recipe['encoder_layers']} + " if recipe["encoder_layers"] else ""
    layers = f"{recipe['layers']} layers" if encoder else format_count(recipe["layers"], "layer")
    is_new = "vocab_size" in reasons  # what the text has may be less
    vocabulary = f"vocabulary size {'up to ' * is_new}{recipe['vocab_size']:,}"
    rows = {
        "budget": (budget, reasons.get("minutes", "") or duration),
        "tokens": (f"{recipe['tokenizer']}, {vocabulary}", reasons.get("vocab_size", "")),
        "model": (f"{encoder}{layers} × width {recipe['width']}", reasons.get("layers", "")),
        "attention": (
            f"{format_count(recipe['heads'], 'head')} × {recipe['head_width']}, {recipe['position']} positions",
            f"context of {recipe['context']:,} tokens",
        ),
        "feed-forward": (f"{gate}{recipe['activation']}, width {recipe['feed_forward_width']:,}", ""),
        "batch": (f"{format_count(recipe['batch_tokens'], 'token')} per step", reasons.get("batch_tokens", "")),
        "dropout": (f"{recipe['dropout']:g}{regularization(recipe)}", reasons.get("dropout", "")),
        "optimizer": (f"{recipe['optimizer']} at {recipe[rate]:g}", recipe["precision"]),
    }
    if event.get("processes", 1) > 1:
        rows["processes"] = (f"{event['processes']}", "")
    table = Table("option", "choice", "because", box=None, header_style="bold", padding=(0, 2, 0, 0))
    for name, (picked, because) in rows.items():
        table.add_row(name, picked, because)
    return table


def regularization(recipe: Mapping[str, Any]) -> str:
    """Regularization besides dropout."""
    merges = f"; BPE dropout {recipe['bpe_dropout']:g}" if recipe["bpe_dropout"] else ""
    return merges + ("; tied embeddings" if recipe["tied_embeddings"] else "")


def quality(event: Mapping[str, Any]) -> str:
    """BLEU and chrF, if translations were scored; how many answers are known, if that was counted."""
    names = {"bleu": "BLEU", "chrf": "chrF"}
    if "known" in event:
        return f", {event['known']:,} of {format_count(event['conversations'], 'answer')} known"
    return "".join(f", {name} {event[key]:.1f}" for key, name in names.items() if key in event)


def format_duration(seconds: float) -> str:
    """42 s, 3:05 or 2:10:00."""
    whole = round(seconds)
    if whole < 100:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
