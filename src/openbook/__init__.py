"""Train a transformer on your own books or sentence pairs, ask it, and open it up.

    import openbook

    model = openbook.train("books/", "austen.openbook", minutes=5)
    model = openbook.load("austen.openbook")
    print(model.ask("It is a truth"))
    model.trace("It is a truth").trace["decoder.blocks.0.self_attention.weights"].value

Importing it imports nothing heavy; `Model`, `load` and `train` are imported when they are first used.
"""

import os
from typing import TYPE_CHECKING, Any

from openbook.errors import OpenbookError

if TYPE_CHECKING:
    from openbook.model import Model, load, train

# Threads that wait for each other sleep soon instead of spinning: beside one other busy program, spinning makes a step
# ten times as slow. OpenMP reads this once, when torch loads it.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

__version__ = "0.1.0"
__all__ = ["Model", "OpenbookError", "__version__", "load", "train"]


def __getattr__(name: str) -> Any:
    if name in ("Model", "load", "train"):
        from openbook import model

        return getattr(model, name)
    raise AttributeError(f"module 'openbook' has no attribute {name!r}")
