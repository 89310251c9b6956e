"""The figures of one kind of model in a comparison: its training, and the quality and speed of its translations."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from openbook.model_file.file import build, load
from openbook.progress import Track, silent
from openbook.training.data.pair_dataset import PairDataset
from openbook.training.evaluation.translation import TranslationSet
from openbook.training.plan.measure import count_parameters
from openbook.training.report.log import read_log
from openbook.training.run import TrainingRun
from openbook.transformer.device import choose_device

KINDS = ("encoder-decoder", "decoder-only")

MAX_SENTENCES = 1000
"""Held-out sentences that are translated at most, for the quality."""

LATENCY_SENTENCES = 20
"""Sentences that are translated one by one, for the latency."""


@dataclass(frozen=True)
class ComparisonResult:
    """Figures of one kind. Loss and quality are those of the held-out pairs."""

    kind: str
    layers: str
    width: int
    parameters: int
    seconds: float
    """Of the whole training."""
    steps: int
    tokens_per_second: float
    """Target tokens trained on per second of the training loop."""
    epochs: float
    nats_per_token: float
    bits_per_byte: float
    perplexity: float
    unknown: int
    """Held-out target tokens that are not in the vocabulary; each of their bytes counts as 8 bits."""
    bleu: float | None
    """None where no reference has four words."""
    chrf: float
    bleu_signature: str
    note: str
    """What has to be known about BLEU."""
    latency: float
    """Seconds to translate a sentence alone."""
    sentences_per_second: float
    """In batches."""
    megabytes: float | None
    """Peak memory of the process while it trained; None where the system does not tell."""
    model: str
    curve: tuple[tuple[float, float], ...]
    """(seconds, held-out bits per byte) of each validation."""
    pairs: int
    """Held-out pairs, the same for both kinds: all figures are theirs."""
    curve_pairs: int
    """Those among them that a validation scores."""


def measure(
    kind: str, run: TrainingRun, overwrite: bool, track: Track, bleu_tokenizer: str | None = None
) -> ComparisonResult:
    """Train one kind, or resume its training, and measure it.

    Raises:
        KeyboardInterrupt: training was interrupted; the same call resumes.
    """
    request = run.request
    device = choose_device(request.device)
    with peak_memory(device) as megabytes:
        result = run.run(overwrite)
    if result.outcome.stop_reason == "interrupted":
        raise KeyboardInterrupt
    metadata, tensors = load(request.output)
    model = build(metadata.architecture, tensors).to(device)
    dataset = PairDataset(request, None, silent)
    dataset.tokenize(result.recipe)
    translations = dataset.translations(MAX_SENTENCES)
    task = dataset.task(result.recipe, device, torch.float32)
    score = task.evaluate(model, track)
    with track("Translating", None):
        latency, rate = translation_speed(translations, model)
        quality = translations.quality(model, bleu_tokenizer)
    events = read_log(request.folder / "log.jsonl")
    recipe, state = result.recipe, result.outcome.state
    tokens = sum(event["tokens"] for event in events if event["event"] == "step")
    epoch_tokens = int(dataset.train.tokens.target.lengths[dataset.train.fitting].sum()) + len(dataset.train.fitting)
    return ComparisonResult(
        kind=kind,
        layers=f"{recipe.encoder_layers} + {recipe.layers}" if recipe.encoder_layers else f"{recipe.layers}",
        width=recipe.width,
        parameters=count_parameters(metadata.architecture),
        seconds=state.seconds,
        steps=state.step,
        tokens_per_second=tokens / max(1e-9, state.seconds - state.start_seconds),
        epochs=tokens / epoch_tokens,
        nats_per_token=score.nats / max(1, score.tokens),
        bits_per_byte=score.bits_per_byte,
        perplexity=score.perplexity,
        unknown=score.unknown,
        bleu=None if quality.bleu is None else round(quality.bleu, 3),
        chrf=round(quality.chrf, 3),
        bleu_signature=quality.bleu_signature,
        note=quality.note,
        latency=latency,
        sentences_per_second=rate,
        megabytes=megabytes(),
        model=str(request.output),
        curve=tuple((event["seconds"], event["score"]) for event in events if event["event"] == "validation"),
        pairs=len(dataset.validation.fitting),
        curve_pairs=round(len(dataset.validation.fitting) * task.validated_fraction),
    )


def translation_speed(translations: TranslationSet, model: nn.Module) -> tuple[float, float]:
    """Seconds for a sentence alone, and sentences per second in batches."""
    sources = translations.sources
    translations.translate(model, sources[:2])  # warm-up
    alone = sources[:: max(1, len(sources) // LATENCY_SENTENCES)][:LATENCY_SENTENCES]
    started = time.perf_counter()
    for source in alone:
        translations.translate(model, [source])
    latency = (time.perf_counter() - started) / len(alone)
    started = time.perf_counter()
    translations.translate(model, sources)
    return latency, len(sources) / (time.perf_counter() - started)


@contextmanager
def peak_memory(device: torch.device) -> Iterator[Callable[[], float | None]]:
    """Gives a function that returns the peak memory inside, in megabytes; None where the system does not tell."""
    peak: list[float | None] = [None]
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    yield lambda: peak[0]
    if device.type == "cuda":
        peak[0] = torch.cuda.max_memory_allocated(device) / 1e6
    else:
        with suppress(OSError):
            status = Path("/proc/self/status").read_text()
            peak[0] = int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6
