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
from openbook.training.plan.fine_tuning import OPEN
from openbook.training.recipe import FIELDS, Recipe

MUON_FIELDS = {"matrix_lr", "muon_momentum"}
FROZEN_FIELDS = {"embedding_lr", "lm_head_lr", "norm_lr", "relative_lr"}
"""Rates of weights that LoRA leaves as they are."""

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
    lora: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Data names and hashes, recipe, seed, steps, losses and other metrics, versions and date, as JSON.

    The recipe of a fine-tuning has what the base model leaves open, and no rates that were not used; `lora` says what
    was trained where that is not all weights.
    """
    state = outcome.state
    unused: set[str] = set() if base_model is None else FIELDS.keys() - set(OPEN)
    unused |= MUON_FIELDS if recipe.optimizer == "adamw" else set()
    unused |= set() if lora is None else FROZEN_FIELDS
    return {
        "data": data,
        "base_model": None if base_model is None else printable_path(base_model.name),
        **({} if lora is None else {"lora": dict(lora)}),
        "recipe": {name: value for name, value in recipe.as_dict().items() if name not in unused},
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
