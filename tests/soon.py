"""A limit to what hostile input may cost: far above what any of it takes, far below work that runs away."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

SECONDS = 30.0
"""Of processor time: what runs away takes minutes or has no end; what is refused takes less than one second."""


@contextmanager
def soon() -> Iterator[None]:
    """What is done inside must not run away."""
    started = time.process_time()
    try:
        yield
    finally:
        assert time.process_time() - started < SECONDS
