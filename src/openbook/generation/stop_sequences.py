"""Stop sequences: texts before which an answer ends."""

from collections.abc import Sequence


class StopSequences:
    """Passes text on until a stop sequence appears; holds back whatever may be the start of one.

    The stop sequence that is complete first counts; of those that end together, the longest.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = stops
        self._held = ""
        self.which: str | None = None
        """The stop sequence that was found."""

    @property
    def found(self) -> bool:
        """Whether a stop sequence has appeared."""
        return self.which is not None

    def feed(self, text: str) -> str:
        """Take more text; return what is now known to be part of the answer."""
        self._held += text
        ends = [(start + len(stop), start, stop) for stop in self._stops if (start := self._held.find(stop)) >= 0]
        _, passed, self.which = min(ends) if ends else (0, len(self._held) - self._partial_length(), None)
        text, self._held = self._held[:passed], "" if self.found else self._held[passed:]
        return text

    def flush(self) -> str:
        """What was held back, when no more text comes."""
        text, self._held = self._held, ""
        return text

    def _partial_length(self) -> int:
        """Length of the longest suffix of the held text that starts a stop sequence."""
        longest = min(len(self._held), max(map(len, self._stops), default=1) - 1)
        suffixes = (n for n in range(longest, 0, -1) if any(stop.startswith(self._held[-n:]) for stop in self._stops))
        return next(suffixes, 0)
