"""Decoder-only or encoder-decoder? Both are trained on the same pairs, tokens and minutes, and measured alike."""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from openbook.errors import OpenbookError
from openbook.model_file.atomic import atomic_write
from openbook.model_file.file import build, load
from openbook.progress import Track, silent
from openbook.text.corpus.working_directory import size_and_mtime
from openbook.text.input_files import find_files
from openbook.training.data.pair_dataset import PairDataset
from openbook.training.loop import Callback
from openbook.training.plan.device import choose_device
from openbook.training.plan.measure import count_parameters
from openbook.training.recipe import build_architecture, make_recipe
from openbook.training.report.log import read_log
from openbook.training.report.sample_translations import Translations
from openbook.training.request import TrainingRequest
from openbook.training.run import TrainingRun

KINDS = ("encoder-decoder", "decoder-only")

SENTENCES = 1000
"""Held-out sentences that are translated at most, for the quality."""

ALONE = 20
"""Sentences that are translated one after the other, for the latency."""


@dataclass(frozen=True)
class Measured:
    """What came of one kind. Loss and quality are those of the held-out pairs."""

    kind: str
    layers: str
    width: int
    parameters: int
    seconds: float
    """Of the whole training."""
    updates: int
    tokens_per_second: float
    """Target tokens learned from, each second of learning."""
    epochs: float
    nats_per_token: float
    bits_per_byte: float
    perplexity: float
    bleu: float
    chrf: float
    latency: float
    """Seconds for a sentence alone."""
    sentences_per_second: float
    """Many at a time."""
    megabytes: float | None
    """Greatest memory of the process while it trained; None where the system does not say."""
    model: str
    curve: tuple[tuple[float, float], ...]
    """(seconds, held-out bits a byte) of each validation."""


def compare(
    pairs: Sequence[str | Path],
    folder: Path,
    choices: Mapping[str, Any],
    *,
    validation: Sequence[str | Path] | None = None,
    device: str = "auto",
    overwrite: bool = False,
    callbacks: Callable[[str], Sequence[Callback]] = lambda kind: (),
    track: Track = silent,
) -> list[Measured]:
    """Train and measure both kinds, each with all of the minutes; models, comparison.json and a picture go to `folder`.

    The encoder-decoder's size is planned as always; the decoder-only model, which reads source and target as one row
    and learns the target alone, is as wide and has as many layers as make about as many parameters.

    Args:
        pairs: files of sentence pairs.
        folder: where everything goes.
        choices: of both recipes: minutes or steps, vocabulary, seed …
        validation: files to validate with; some of the pairs if None.
        device: auto, cpu, cuda or mps.
        overwrite: replace an earlier comparison; an interrupted one of the same goes on without it.
        callbacks: gives, for a kind, who is told of its training.
        track: shows progress.

    Raises:
        OpenbookError: as for training; or `folder` holds a comparison and is not to be replaced.
    """
    place = folder / "comparison.json"
    if place.exists() and not overwrite:
        raise OpenbookError(f"{folder}: holds a comparison; give another --output, or --overwrite to replace it")
    make_recipe(choices)
    files = find_files([*pairs, *(validation or [])])
    identity = json.dumps([[(str(path), *size_and_mtime(path)) for path in files], dict(choices)], sort_keys=True)
    folder.mkdir(parents=True, exist_ok=True)
    results: list[Measured] = []
    given = dict(choices)
    for kind in KINDS:
        if kind == "decoder-only":
            given |= like(load(Path(results[0].model))[0].training["recipe"])
        output, done = folder / f"{kind}.openbook", folder / f"{kind}.json"
        result = None if overwrite else earlier(done, identity)
        if result is None:
            request = TrainingRequest(pairs, output, given, pairs=True, validation=validation, device=device)
            result = measure(kind, TrainingRun(request, callbacks(kind), track, stopwatch()), overwrite, track)
            write(done, {"identity": identity, "measured": asdict(result)})
        results.append(result)
    write(place, [asdict(result) for result in results])
    for kind in KINDS:
        (folder / f"{kind}.json").unlink()
    return results


def stopwatch() -> Callable[[], float]:
    """A clock that begins now."""
    begun = time.perf_counter()
    return lambda: time.perf_counter() - begun


def write(path: Path, content: Any) -> None:
    """Write JSON, whole or not at all."""
    with atomic_write(path) as file:
        file.write(json.dumps(content).encode())


def earlier(path: Path, identity: str) -> Measured | None:
    """What was measured before the same comparison was interrupted."""
    if not path.exists():
        return None
    content = json.loads(path.read_text("utf-8"))
    measured = content["measured"]
    measured["curve"] = tuple(tuple(point) for point in measured["curve"])
    return Measured(**measured) if content["identity"] == identity else None


def like(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Sizes of a decoder-only model with as many parameters as an encoder-decoder of this recipe, roughly."""
    wanted = count_parameters(build_architecture(make_recipe(recipe)))
    shared = ("vocab_size", "width", "heads", "key_value_heads", "head_width", "feed_forward_width")
    sizes = {name: recipe[name] for name in shared} | {"encoder_layers": 0}

    def distance(layers: int) -> int:
        return abs(count_parameters(build_architecture(make_recipe(sizes | {"layers": layers}))) - wanted)

    most = 2 * (recipe["encoder_layers"] + recipe["layers"]) + 2
    return sizes | {"layers": min(range(1, most), key=distance)}


def measure(kind: str, training: TrainingRun, overwrite: bool, track: Track) -> Measured:
    """Train one kind, or go on training it, and measure what came of it.

    Raises:
        KeyboardInterrupt: training was interrupted; the same goes on.
    """
    request = training.request
    device = choose_device(request.device)
    with peak_memory(device) as megabytes:
        result = training.run(overwrite)
    if result.outcome.stop_reason == "interrupted":
        raise KeyboardInterrupt
    contents, tensors = load(request.output)
    model = build(contents.architecture, tensors).to(device)
    dataset = PairDataset(request, None, silent)
    dataset.tokenize(result.recipe)
    translations = dataset.translations(SENTENCES)
    with track("Translating", None):
        latency, rate = translation_speed(translations, model)
        quality = translations.measure(model)
    events = read_log(request.folder / "log.jsonl")
    recipe, score, at = result.recipe, result.score, result.outcome.state
    learned = sum(event["tokens"] for event in events if event["event"] == "step")
    fitting = dataset.train.fitting
    targets = int(dataset.train.tokens.target.lengths[fitting].sum()) + len(fitting)
    return Measured(
        kind=kind,
        layers=f"{recipe.encoder_layers} + {recipe.layers}" if recipe.encoder_layers else f"{recipe.layers}",
        width=recipe.width,
        parameters=count_parameters(contents.architecture),
        seconds=at.seconds,
        updates=at.step,
        tokens_per_second=learned / max(1e-9, at.seconds - at.start_seconds),
        epochs=learned / targets,
        nats_per_token=score.nats / max(1, score.tokens),
        bits_per_byte=score.bits_per_byte,
        perplexity=score.perplexity,
        bleu=quality["bleu"],
        chrf=quality["chrf"],
        latency=latency,
        sentences_per_second=rate,
        megabytes=megabytes(),
        model=str(request.output),
        curve=tuple((event["seconds"], event["score"]) for event in events if event["event"] == "validation"),
    )


def translation_speed(translations: Translations, model: torch.nn.Module) -> tuple[float, float]:
    """Seconds for a sentence alone, and sentences a second many at a time."""
    sources = translations.sources
    translations.write(model, sources[:2])  # what is set up at first use
    alone = sources[:: max(1, len(sources) // ALONE)][:ALONE]
    begun = time.perf_counter()
    for source in alone:
        translations.write(model, [source])
    latency = (time.perf_counter() - begun) / len(alone)
    begun = time.perf_counter()
    translations.write(model, sources)
    return latency, len(sources) / (time.perf_counter() - begun)


@contextmanager
def peak_memory(device: torch.device) -> Iterator[Callable[[], float | None]]:
    """Gives a function that says the greatest memory since, in megabytes; None where the system does not say."""
    peak: list[float | None] = [None]
    reset = Path("/proc/self/clear_refs")
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        with suppress(OSError):
            reset.write_text("5")  # from now on the peak of the memory counts anew
    yield lambda: peak[0]
    if device.type == "cuda":
        peak[0] = torch.cuda.max_memory_allocated(device) / 1e6
    else:
        with suppress(OSError):
            status = Path("/proc/self/status").read_text()
            peak[0] = int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6
