"""Train a transformer on your own books or sentence pairs, ask it, and open it up.

    import openbook
    model = openbook.train("books/", minutes=5, output="mine.openbook")
    model = openbook.load("mine.openbook")
    print(model.ask("Once upon a time"))

Nothing heavy is imported before it is used.
"""

import os
from typing import TYPE_CHECKING, Any

from openbook.errors import OpenbookError

if TYPE_CHECKING:
    from openbook.model import Model, load, train

# Threads that wait for each other shall soon sleep: with one other program running, spinning makes a step ten times as
# long. Read once, when torch loads its OpenMP.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

__version__ = "0.1.0"
__all__ = ["Model", "OpenbookError", "__version__", "load", "train"]


def __getattr__(name: str) -> Any:
    if name in ("Model", "load", "train"):
        from openbook import model

        return getattr(model, name)
    raise AttributeError(f"module 'openbook' has no attribute {name!r}")
