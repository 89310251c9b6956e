"""How the weights of a model came about, for its file."""

import datetime
import hashlib
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import openbook
from openbook.text.corpus import Corpus
from openbook.training.evaluation import Score
from openbook.training.loop import Event, Outcome
from openbook.training.recipe import Recipe


def hash_of(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def training_record(
    corpus: Corpus, recipe: Recipe, outcome: Outcome, score: Score, events: Sequence[Event], start: Path | None
) -> dict[str, Any]:
    """Data names and hashes, recipe, seed, steps, losses, versions and date, as JSON."""
    at = outcome.position
    return {
        "data": [
            {"name": Path(file.source).name, "bytes": file.bytes_kept, "sha256": hash_of(Path(file.source))}
            for file in corpus.report.files
        ],
        "from": None if start is None else start.name,
        "recipe": recipe.as_dict(),
        "seed": recipe.seed,
        "steps": at.step,
        "best_step": at.best_step,
        "seconds": round(at.seconds, 1),
        "ended": outcome.how,
        "bits_a_byte": round(score.bits_a_byte, 5),
        "perplexity": round(score.perplexity, 4),
        "losses": [
            {"step": event["step"], "bits_a_byte": round(event["score"], 5)}
            for event in events
            if event["event"] == "validation"
        ],
        "versions": {
            "openbook": openbook.__version__,
            "torch": torch.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
