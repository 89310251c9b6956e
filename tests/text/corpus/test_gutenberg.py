import pytest

from openbook.text.corpus.cleaning.gutenberg import strip_gutenberg

START = "*** START OF THE PROJECT GUTENBERG EBOOK EMMA ***"
END = "*** END OF THE PROJECT GUTENBERG EBOOK EMMA ***"
HEADER = f"The Project Gutenberg eBook of Emma\n\nThis eBook is for the use of anyone\n\n{START}\n"
FOOTER = f"{END}\n\nUpdated editions will replace the previous one.\n\nSTART: FULL LICENSE\n"
BODY = "EMMA\n\nby Jane Austen\n\nEmma Woodhouse, handsome, clever, and rich.\n\n"


def strip(text: str, lines_per_chunk: int = 10**9) -> str:
    lines = text.splitlines(keepends=True)
    chunks = ["".join(lines[i : i + lines_per_chunk]) for i in range(0, len(lines), lines_per_chunk)]
    return "".join(strip_gutenberg(chunks))


@pytest.mark.parametrize("lines_per_chunk", [1, 3, 1000])
def test_header_and_footer_go(lines_per_chunk: int) -> None:
    assert strip(HEADER + "\n\n" + BODY + FOOTER, lines_per_chunk) == BODY


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("***START OF THE PROJECT GUTENBERG EBOOK EMMA***", "***END OF THE PROJECT GUTENBERG EBOOK EMMA***"),
        ("*** START OF THIS PROJECT GUTENBERG EBOOK EMMA ***", "End of the Project Gutenberg EBook of Emma, by Jane"),
        (
            "*** START OF THE PROJECT GUTENBERG EBOOK THE HISTORY\nOF EMMA ***",
            "End of Project Gutenberg's Emma, by Jane",
        ),
        (f"{START}\n\nProduced by An Anonymous Volunteer\nand others\n", END),
        (
            "*END*THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.04.29.93*END*",
            "End of The Project Gutenberg Etext of Emma",
        ),
        (f"{START}\n\n***START**THE SMALL PRINT!**\nlegal\n*END THE SMALL PRINT! FOR PUBLIC DOMAIN*", END),
        (f"\0{START}", f"\0{END}"),
    ],
)
def test_old_and_new_markers(start: str, end: str) -> None:
    assert strip(f"Project Gutenberg Etext\n\n{start}\n\n{BODY}{end}\n\nlicence\n") == BODY


def test_several_books_in_one_file() -> None:
    assert strip((HEADER + BODY + FOOTER) * 3, 2) == BODY * 3


def test_long_books_are_let_through_while_they_come() -> None:
    taken = 0

    def lines():
        nonlocal taken
        yield HEADER
        for _ in range(100):
            taken += 1
            yield BODY * 100
        yield FOOTER

    stripped = strip_gutenberg(lines())
    first = next(stripped)
    assert first.startswith("EMMA")
    assert taken < 20
    assert first + "".join(stripped) == BODY * 10_000


def test_other_books_come_through_unchanged() -> None:
    text = "He spoke of Project Gutenberg, and said:\n*** START OF THE END ***\n\nEnd of project.\n" * 2000
    assert strip(text, 7) == text
