"""Chapter headings: those that the file marks (the readers put NUL before them), and lines that look like one."""

import re
from dataclasses import dataclass
from itertools import chain

MINIMUM_DISTANCE = 500
"""Bytes between the headings of two chapters; closer ones are one heading ("VOLUME I", "CHAPTER I")."""

MAXIMUM_TITLE_LENGTH = 120
MAXIMUM_TOGETHER = 8
"""Headings within `MINIMUM_DISTANCE`; more, such as an index of numerals, are not looked at."""

NUMBER = (
    r"(?:[0-9]{1,4}|[ivxlcdm]{1,9}|the\s+\w+|first|second|third|last|one|two|three|four|five|six|seven|eight|nine|ten"
    r"|eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen|eighteen|nineteen"
    r"|(?:twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety)(?:[- ]\w+)?)"
)
NUMBERED = (
    r"chapter|book|part|volume|vol\.|letter|act|scene|canto|stave|section"
    r"|chapitre|kapitel|capítulo|capitolo|hoofdstuk|глава|часть"
)
UNNUMBERED = r"prologue|epilogue|preface|foreword|introduction|conclusion|afterword"
HEADING = re.compile(
    rf"""(?P<line>[ \t]*
        (?: (?:{NUMBERED})[ \t]+{NUMBER}\b[^\n]{{0,80}}
          | (?:{UNNUMBERED})[.:]?[ \t]*
          | (?-i:[IVXLC]{{1,7}})\.?[ \t]*                # a Roman numeral and nothing else
          | \#{{1,3}}[ \t]+[^\n]{{1,80}}                 # Markdown in plain text
        )
        (?:\n[ \t]*\S[^\n]{{0,80}})?                     # an optional second line,
    )
    (?=\n[^\S\n]*(?:\n|\Z)|\Z)                           # before a blank one
    """,
    re.VERBOSE | re.IGNORECASE,
)
BLANK_LINES = re.compile(r"\n(?:[^\S\n]*\n)+")


@dataclass(frozen=True)
class Chapter:
    """The start of a chapter, in bytes from the start of its text, and its title ("" before any heading)."""

    start: int
    title: str


def find_headings(text: str) -> tuple[str, list[tuple[int, str]]]:
    """Find the headings in text that begins and ends between paragraphs.

    Returns:
        The text without heading marks, and (character offset, title) of each heading.
    """
    parts = text.split("\0")
    text = "".join(parts)
    headings: dict[int, str] = {}
    first = together = 0
    for start in chain([0], (blank.end() for blank in BLANK_LINES.finditer(text))):
        if start - first >= MINIMUM_DISTANCE:
            together = 0
        if together < MAXIMUM_TOGETHER and (match := HEADING.match(text, start)):
            headings[start] = _title(match["line"])
            first = first if together else start
            together += 1
    offset = len(parts[0])
    for part in parts[1:]:
        headings[offset] = _title(part.partition("\n\n")[0])
        offset += len(part)
    return text, sorted(headings.items())


def add_heading(chapters: list[Chapter], start: int, title: str) -> None:
    """Append a chapter that starts at byte `start`, or add its title to that of a heading just before it."""
    if chapters and chapters[-1].title and start - chapters[-1].start < MINIMUM_DISTANCE:
        previous = chapters.pop()
        chapters.append(Chapter(previous.start, f"{previous.title}, {title}"[:MAXIMUM_TITLE_LENGTH]))
    else:
        chapters.append(Chapter(start, title))


def _title(lines: str) -> str:
    return " ".join(lines.split()).lstrip("# ")[:MAXIMUM_TITLE_LENGTH]
