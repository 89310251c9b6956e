import random
import time
from pathlib import Path

import numpy as np
import pytest

from openbook.progress import silent
from openbook.text.corpus.deduplication import duplicates
from openbook.text.corpus.deduplication.duplicates import SIMILAR, Duplicate, label_duplicates
from openbook.text.corpus.deduplication.minhash import SHINGLE_WORDS, fingerprint_text
from openbook.text.corpus.deduplication.sections import Section, fingerprint_section
from openbook.text.corpus.prepare import prepare
from text.text_examples import words


def changed(text: str, share: float, seed: int = 0) -> str:
    """The text with a share of its words replaced."""
    generator = random.Random(seed)
    each = text.split(" ")
    for place in generator.sample(range(len(each)), round(share * len(each))):
        each[place] = f"changed{generator.randint(0, 10**9)}"
    return " ".join(each)


def jaccard(first: str, second: str) -> float:
    a, b = (
        {tuple(each[i : i + SHINGLE_WORDS]) for i in range(len(each) - SHINGLE_WORDS + 1)}
        for each in (first.split(), second.split())
    )
    return len(a & b) / len(a | b)


def labels_of(
    paragraphs: list[str], folder: Path, sections: int = 1, held_out: int = 0, processes: int = 1
) -> list[int]:
    """Labels for paragraphs that are divided over so many sections, the first `held_out` of them held out."""
    made = []
    folder.mkdir(exist_ok=True)
    for number, group in enumerate(np.array_split(np.array(paragraphs, object), sections)):
        text = folder / f"{number}.txt"
        text.write_text("\n\n".join(group), encoding="utf-8")
        parts = ((0, text.stat().st_size),)
        section = Section(text, parts, folder / f"{number:06}", held_out=number < held_out)
        with silent("", 0) as advance:
            fingerprint_section(section, advance)
        made.append(section)
    return label_duplicates(made, folder, processes, silent).tolist()


def test_ranges_are_those_of_long_paragraphs() -> None:
    long = words(25, 1)
    text = f'\n\n"Yes."\n\n{long}\n \t\n\n  {long} é\n\n"No."\n\n{long}'.encode()
    ranges, exact, bands, signatures = fingerprint_text(text)
    passages = [text[start:end].decode() for start, end in ranges]
    assert passages == [f"{long}\n \t\n\n", f"  {long} é\n\n", long]
    assert len(exact) == bands.shape[1] == len(signatures) == 3
    assert exact[0] == exact[2] != exact[1]


def test_no_passages() -> None:
    for text in (b"", b"\n\n\n", b"Yes.\n\nNo."):
        ranges, exact, bands, signatures = fingerprint_text(text)
        assert len(ranges) == len(exact) == bands.shape[1] == len(signatures) == 0


@pytest.mark.parametrize("sections", [1, 3])
@pytest.mark.parametrize("maximum_keys", [1 << 23, 50])
def test_planted_duplicates_are_found_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sections: int, maximum_keys: int
) -> None:
    monkeypatch.setattr(duplicates, "MAXIMUM_KEYS", maximum_keys)
    monkeypatch.setattr(duplicates, "MAXIMUM_PAIRS", 7)
    originals = [words(80, seed) for seed in range(200)]
    paragraphs, expected = list(originals), [Duplicate.NONE] * 200
    for number in range(0, 200, 4):
        paragraphs.append(originals[number].replace(" ", "\n", 5) + "  ")
        expected.append(Duplicate.EXACT)
        near = changed(originals[number + 1], 0.02, number).upper()
        assert jaccard(originals[number + 1].upper(), near) > 0.85
        paragraphs.append(near)
        expected.append(Duplicate.NEAR)
        far = changed(originals[number + 2], 0.15, number)
        assert jaccard(originals[number + 2], far) < 0.6
        paragraphs.append(far)
        expected.append(Duplicate.NONE)
    assert labels_of(paragraphs, tmp_path, sections) == expected


def test_the_estimate_of_similarity_is_good(tmp_path: Path) -> None:
    errors = []
    for seed in range(60):
        original = words(300, seed)
        other = changed(original, (seed % 6) / 50, seed)
        signatures = fingerprint_text(f"{original}\n\n{other}".encode())[3]
        errors.append((signatures[0] == signatures[1]).mean() - jaccard(original, other))
    assert abs(np.mean(errors)) < 0.015
    assert np.std(errors) < 0.05  # 128 rows: at most sqrt(1/4 / 128) = 0.044


def test_real_paragraphs_that_share_phrases_stay(tmp_path: Path) -> None:
    first = (
        "It is a truth universally acknowledged, that a single man in possession of a good fortune, must be in want of"
        " a wife. However little known the feelings or views of such a man may be on his first entering a village."
    )
    second = (
        "It is a truth universally acknowledged, that a single woman in possession of a good library, must be in want"
        " of a shelf. However little known the habits or tastes of such a woman may be on first entering a bookshop."
    )
    assert labels_of([first, second], tmp_path) == [Duplicate.NONE, Duplicate.NONE]


def test_scripts_without_spaces(tmp_path: Path) -> None:
    text = "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。"
    text += "薄暗いじめじめした所で泣いていた事だけは記憶している。"
    other = "メロスは激怒した。必ず、かの邪智暴虐の王を除かなければならぬと決意した。"
    other += "メロスには政治がわからぬ。メロスは、村の牧人である。"
    near = text.replace("薄暗い", "薄暗き")
    assert jaccard(" ".join(text), " ".join(near)) > SIMILAR
    assert labels_of([text, other, near], tmp_path) == [Duplicate.NONE, Duplicate.NONE, Duplicate.NEAR]


def test_a_crowd_of_equals_is_cheap(tmp_path: Path) -> None:
    crowd = [words(30, 1)] * 5000 + [changed(words(100, 2), 0.01, seed) for seed in range(300)]
    labels = labels_of(crowd, tmp_path, 2)
    assert labels[0] == labels[5000] == Duplicate.NONE
    assert set(labels[1:5000]) == {Duplicate.EXACT}
    assert labels[5001:].count(Duplicate.NEAR) > 290


def test_held_out_passages_are_never_marked_but_their_likes_are(tmp_path: Path) -> None:
    held_out = [words(50, 1), words(50, 1), words(50, 2)]
    training = [words(50, 1), words(50, 3), changed(words(50, 2), 0.02)]
    assert labels_of(held_out + training, tmp_path, sections=2, held_out=1) == [Duplicate.NONE] * 3 + [
        Duplicate.EXACT,
        Duplicate.NONE,
        Duplicate.NEAR,
    ]


@pytest.mark.slow
def test_a_million_equal_paragraphs_take_linear_time(tmp_path: Path) -> None:
    """Twice as many take about twice as long, both measured in this process's own time."""

    def seconds(paragraphs: int) -> float:
        book = tmp_path / f"{paragraphs}.txt"
        line = "the same little words here now and again until the end of the line of the {} part of a long long tale"
        book.write_text("".join(line.format(number % 7) + "\n\n" for number in range(paragraphs)))
        began = time.process_time()
        prepare([book], tmp_path / f"corpus{paragraphs}", validation_fraction=0.1, processes=1)
        return time.process_time() - began

    assert seconds(1_000_000) < 3 * seconds(500_000)
