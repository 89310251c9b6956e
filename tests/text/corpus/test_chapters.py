import pytest

from openbook.text.corpus.cleaning.chapters import Chapter, add_heading, find_headings


def titles(text: str) -> list[str]:
    return [title for _, title in find_headings(text)[1]]


@pytest.mark.parametrize(
    "heading",
    [
        "Chapter 1",
        "CHAPTER XIV. Loomings",
        "BOOK I",
        "Letter 4",
        "    VOLUME II",
        "Chapter the First",
        "Part Two: The Sea",
        "CHAPTER 1\nThe Carpet-Bag",
        "# A title",
        "Kapitel 3",
        "IV.",
        "EPILOGUE",
        "ACT II",
        "Chapter Twenty-One",
    ],
)
def test_headings(heading: str) -> None:
    text = f"Some text.\n\n{heading}\n\nMore text.\n"
    assert find_headings(text) == (text, [(12, " ".join(heading.split()).lstrip("# "))])
    assert titles(f"{heading}\n\nMore") == titles(f"\n\n{heading}") == titles(text)


@pytest.mark.parametrize(
    "line",
    [
        "letter was from this gentleman himself, and written in the true spirit",
        "Part of it was true.",
        "chapter",
        "Chapter 1 begins a line\nof a longer paragraph\nthat goes on.",
        "Volumes",
        "bookings",
    ],
)
def test_prose_is_no_heading(line: str) -> None:
    assert titles(f"Some text.\n\n{line}\n\nMore text.\n") == []


def test_a_heading_stands_between_blank_lines() -> None:
    assert titles("the end of\nChapter 1\n\nwas good") == []
    assert titles("CONTENTS\nChapter 1\nChapter 2\nChapter 3\n\nText") == []


def test_marks_of_the_readers_are_headings_and_go() -> None:
    text, headings = find_headings("\0One\n\nText é.\n\n\0Two\nlines\n\nText.\n\n")
    assert text == "One\n\nText é.\n\nTwo\nlines\n\nText.\n\n"
    assert headings == [(0, "One"), (text.index("Two"), "Two lines")]


def test_close_headings_are_one_chapter() -> None:
    chapters: list[Chapter] = []
    for start, title in ((0, ""), (100, "VOLUME I"), (120, "CHAPTER I"), (5000, "CHAPTER II")):
        add_heading(chapters, start, title)
    assert chapters == [Chapter(0, ""), Chapter(100, "VOLUME I, CHAPTER I"), Chapter(5000, "CHAPTER II")]
