"""The mean of recent losses, for the display and the curve: the noise of single batches is gone, the trend is not."""

from collections import deque

MOST, SHARE = 20, 10


class RecentMean:
    """The mean of the last tenth of all values, 20 at most. Unlike a running average it forgets the high first ones."""

    def __init__(self) -> None:
        self._recent: deque[float] = deque(maxlen=MOST)
        self._count = 0

    def add(self, value: float) -> float:
        """The mean after another value."""
        self._recent.append(value)
        self._count += 1
        return self.value

    @property
    def value(self) -> float:
        """The mean so far; 0 before the first value."""
        last = list(self._recent)[-max(1, self._count // SHARE) :]
        return sum(last) / max(1, len(last))
