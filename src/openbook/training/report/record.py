"""The training record of a model file: data, recipe, scores and versions."""

import datetime
import hashlib
import platform
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from openbook import __version__
from openbook.text.corpus.corpus import Corpus
from openbook.text.printable import printable_path
from openbook.training.evaluation.perplexity import Score
from openbook.training.loop import Event, Outcome
from openbook.training.recipe import Recipe

MOST_FILES = 1000
"""Books that a record names one by one, so that it fits in a model file's header."""


def hash_of(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def data_record(corpus: Corpus, books: Iterable[Path]) -> list[dict[str, Any]]:
    """Names and hashes of the `books` of a corpus; those beyond `MOST_FILES` together, by a hash of their hashes."""
    places = {printable_path(book): book for book in books}
    return files_record((places[file.source], file.bytes_kept) for file in corpus.report.files)


def files_record(files: Iterable[tuple[Path, int]]) -> list[dict[str, Any]]:
    """Names and hashes of files, with how many bytes of each were used."""
    all_files: list[dict[str, Any]] = [
        {"name": printable_path(path.name), "bytes": used, "sha256": hash_of(path)} for path, used in files
    ]
    listed, others = all_files[:MOST_FILES], all_files[MOST_FILES:]
    if others:
        together = hashlib.sha256("".join(file["sha256"] for file in others).encode()).hexdigest()
        size = sum(file["bytes"] for file in others)
        listed.append({"name": f"and {len(others):,} more", "bytes": size, "sha256": together})
    return listed


def training_record(
    data: list[dict[str, Any]],
    recipe: Recipe,
    outcome: Outcome,
    score: Score,
    metrics: Mapping[str, float],
    events: Sequence[Event],
    base_model: Path | None,
) -> dict[str, Any]:
    """Data names and hashes, recipe, seed, steps, losses and other metrics, versions and date, as JSON."""
    state = outcome.state
    return {
        "data": data,
        "base_model": None if base_model is None else printable_path(base_model.name),
        "recipe": recipe.as_dict(),
        "seed": recipe.seed,
        "steps": state.step,
        "best_step": state.best_step,
        "seconds": round(state.seconds, 1),
        "ended": outcome.stop_reason,
        "bits_per_byte": round(score.bits_per_byte, 5),
        "perplexity": round(score.perplexity, 4),
        **({"unknown_tokens": score.unknown, "unknown_bytes": score.unknown_bytes} if score.unknown_bytes else {}),
        "scored_fraction": round(outcome.scored_fraction, 4),
        **metrics,
        "losses": [
            {"step": event["step"], "bits_per_byte": round(event["score"], 5)}
            for event in events
            if event["event"] == "validation"
        ],
        "versions": {
            "openbook": __version__,
            "torch": torch.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
