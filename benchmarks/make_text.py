"""Text of any size, made from a seed: distinct passages, with duplicates whose number is known.

    python benchmarks/make_text.py corpus/ --gigabytes 10 --files 200

Words are drawn as in English prose, by Zipf's law, from a vocabulary that grows with the text. Of a hundred passages
two are copies of earlier ones, and two are copies in which a word of fifty is another. The file FOLDER-facts.json says
how many there are. The text of a file depends on the seed and on its number alone.
"""

import argparse
import json
from pathlib import Path

import numpy as np

WORDS = 400_000
SYLLABLES = (
    "a ab al an ar at be ca co da de di do ed el en er es et fa ga ha he ho id in ing io is ist it ka la le li lo"
)
SYLLABLES += (
    " ly ma me mi mo na ne ni no od of on or os ou pa pe po ra re ri ro sa se si so st ta te th ti to tr un ur us"
)
LENGTHENING = 0.55
"""Syllables that a word has more when it is ten times as rare."""
SHIFT, EXPONENT = 20.0, 1.42
"""Of the law of Zipf and Mandelbrot. Like this, 8 MB have as many different words as 8 MB of novels."""
PASSAGE = 100, 24
"""Words of a passage: mean and deviation."""
PASSAGES_A_FILE_BLOCK = 256
COPIES = 0.02
"""Of the passages: exact copies, and as many copies with changes."""
CHANGED = 0.02
"""Of the words of a copy with changes."""


def vocabulary(random: np.random.Generator) -> list[str]:
    """Distinct words, the frequent ones short."""
    syllables = SYLLABLES.split()
    words: dict[str, None] = {}
    while len(words) < WORDS:
        count = 1 + min(4, int(np.log10(len(words) + 1) * LENGTHENING + random.random()))
        words.setdefault("".join(syllables[i] for i in random.integers(0, len(syllables), count)))
        if count < 5 and random.random() < 0.02:
            words.setdefault("".join(syllables[i] for i in random.integers(0, len(syllables), 5)))
    return list(words)


class Passages:
    """Passages of a file, drawn from a seed."""

    def __init__(self, words: list[str], seed: int, number: int) -> None:
        self._words, self._random = np.array(words, object), np.random.default_rng([seed, number])
        ranks = np.arange(1, len(words) + 1)
        self._cumulative = np.cumsum(1 / (ranks + SHIFT) ** EXPONENT)
        self.exact = self.near = 0
        self._earlier: list[np.ndarray] = []

    def block(self) -> list[str]:
        """Some passages."""
        lengths = np.maximum(30, self._random.normal(*PASSAGE, PASSAGES_A_FILE_BLOCK)).astype(int)
        drawn = np.searchsorted(self._cumulative, self._random.random(int(lengths.sum())) * self._cumulative[-1])
        passages = np.split(drawn, np.cumsum(lengths)[:-1])
        if self._earlier:
            for place in range(len(passages)):
                kind = self._random.random()
                if kind < 2 * COPIES:
                    passages[place] = self._copy(kind < COPIES)
        self._earlier = passages
        return [self._text(passage) for passage in passages]

    def _copy(self, exact: bool) -> np.ndarray:
        copy = self._earlier[int(self._random.integers(len(self._earlier)))].copy()
        if exact:
            self.exact += 1
        else:
            self.near += 1
            places = self._random.integers(0, len(copy), max(1, round(CHANGED * len(copy))))
            copy[places] = self._random.integers(0, len(self._words), len(places))
        return copy

    def _text(self, passage: np.ndarray) -> str:
        words = list(self._words[passage])
        lines = []
        for start in range(0, len(words), 12):
            line = words[start : start + 12]
            line[0] = line[0].capitalize()
            line[len(line) // 2] += ","
            line[-1] += "."
            lines.append(" ".join(line))
        return "\n".join(lines)


def make_text(folder: Path, size: int, files: int, seed: int = 20) -> dict[str, int]:
    """Write so many files with so many bytes together; gives the facts."""
    folder.mkdir(parents=True, exist_ok=True)
    words = vocabulary(np.random.default_rng(seed))
    facts = {"bytes": 0, "passages": 0, "exact": 0, "near": 0}
    for number in range(files):
        passages, written = Passages(words, seed, number), 0
        with (folder / f"{number:05}.txt").open("w", encoding="utf-8") as file:
            while written < size // files:
                block = passages.block()
                written += file.write("\n\n".join(block) + "\n\n")
                facts["passages"] += len(block)
        facts["bytes"] += written
        facts["exact"] += passages.exact
        facts["near"] += passages.near
    (folder.parent / f"{folder.name}-facts.json").write_text(json.dumps(facts))
    return facts


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--gigabytes", type=float, default=1.0)
    parser.add_argument("--files", type=int, default=20)
    parser.add_argument("--seed", type=int, default=20)
    given = parser.parse_args()
    print(json.dumps(make_text(given.folder, int(given.gigabytes * 1e9), given.files, given.seed)))
