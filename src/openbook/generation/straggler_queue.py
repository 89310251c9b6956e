"""Rows that decode on long after the rest of their batch, put aside until they fill a batch of their own."""

import threading

from openbook.generation.beam_batch import BeamBatch


class StragglerQueue:
    """Deferred rows of any number of batches, joined into one. Threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._deferred: BeamBatch | None = None

    def defer(self, batch: BeamBatch, enough: int) -> BeamBatch | None:
        """Put its rows aside; return all deferred rows if they are `enough` now."""
        with self._lock:
            if self._deferred is None:
                self._deferred = batch if batch.rows else None
            elif batch.rows:
                self._deferred.join(batch)
            return self._take() if self._deferred is not None and len(self._deferred.rows) >= enough else None

    def take(self) -> BeamBatch | None:
        """All deferred rows."""
        with self._lock:
            return self._take()

    def _take(self) -> BeamBatch | None:
        batch, self._deferred = self._deferred, None
        return batch
