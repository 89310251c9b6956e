"""Which pairs are fit to learn from. What is not is dropped, counted by reason, and the first such line named."""

from dataclasses import dataclass, field

from openbook.text.corpus.corpus import count
from openbook.training.data.pair_files import Fault, Pair

LONGEST = 10_000
"""Bytes of a side; no model of the sizes trained here sees as many."""

UNEQUAL, SLACK = 5, 50
"""A side of over five times the bytes of the other, and fifty more, is no translation of it."""

SPACES = str.maketrans("\t\r\n", "   ")


@dataclass
class PairReport:
    """What was done with the pairs of one file, or of two whose lines belong together."""

    name: str
    lines: int = 0
    kept: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    """How many for each reason."""
    first: dict[str, int] = field(default_factory=dict)
    """The number of the first line that was dropped for each reason."""

    def drop(self, reason: str, line: int) -> None:
        """Count a pair that is left out."""
        self.dropped[reason] = self.dropped.get(reason, 0) + 1
        self.first[reason] = min(self.first.get(reason, line), line)

    def text(self) -> str:
        """For people, in a line."""
        said = f"{self.name}: {count(self.kept, 'pair')} of {count(self.lines, 'line')}"
        if not self.dropped:
            return said
        reasons = (f"{number:,} {why} (first: line {self.first[why]:,})" for why, number in self.dropped.items())
        return f"{said}; left out {', '.join(reasons)}"


def fit(found: Pair | Fault) -> Pair | str:
    """The pair as it is learned from, with no white space around it and no tabs or line ends in it; else the reason."""
    if isinstance(found, Fault):
        return found.value
    source, target = (side.translate(SPACES).strip() for side in found)
    if not source or not target:
        return "one-sided" if source or target else "blank"
    shorter, longer = sorted((len(source.encode()), len(target.encode())))
    if longer > LONGEST:
        return Fault.TOO_LONG.value
    if longer > UNEQUAL * shorter + SLACK:
        return "very unequal"
    return Pair(source, target)
