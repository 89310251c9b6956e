"""Books from strangers: each costs at most one line, and little time and memory."""

import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from html.parser import HTMLParser
from pathlib import Path

import pytest

from openbook.errors import OpenbookError
from openbook.text.corpus.cleaning.chapters import find_headings
from openbook.text.corpus.prepare import prepare
from openbook.text.corpus.readers import limits
from openbook.text.corpus.readers.document import read_document
from openbook.text.corpus.readers.html import html_paragraphs
from openbook.text.corpus.readers.limits import limit_time, parse_xml
from openbook.text.corpus.readers.markdown import markdown_paragraphs
from soon import soon
from text.text_examples import make_epub, make_pdf, prose


def read(path: Path) -> str:
    return "".join(read_document(path).chunks)


@pytest.mark.parametrize("reference", ["9" * 5000, "0" * 5000 + "7", "x" + "f" * 5000, "0" * 12 + "65"])
def test_long_character_references_do_no_harm(reference: str) -> None:
    text = "".join(html_paragraphs([f"<p title='&#{reference};'>one &#{reference}; two"]))
    assert text.startswith("one ")
    assert text.endswith(" two\n\n")
    assert "".join(markdown_paragraphs(f"one &#{reference}; two")).startswith("one ")


def test_what_a_reader_raises_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    books = tmp_path / "books"
    books.mkdir()
    (books / "good.txt").write_text(prose(9))
    for name in ("bad.html", "bad.md"):
        (books / name).write_text("<p>some words")
    for reader in ("html", "markdown"):
        module = f"openbook.text.corpus.readers.{reader}.html_paragraphs"

        def fail(chunks: object) -> Iterator[str]:
            raise ValueError("Exceeds the limit\nfor integer string conversion")
            yield ""

        monkeypatch.setattr(module, fail)
    problems = prepare([books], tmp_path / "corpus", validation_fraction=0).report.problems
    assert len(problems) == 2
    assert all("damaged (ValueError: Exceeds the limit for integer" in problem for problem in problems)


def test_brackets_and_headings_take_no_more_than_linear_time() -> None:
    with soon():
        for hostile in ("[a][b", "![a](", "[", "![["):
            assert len("".join(markdown_paragraphs(hostile * 40_000))) >= 40_000
        "".join(html_paragraphs(["<title>" + "<" * 1_000_000 + "‹" * 100_000]))
        find_headings("I\n\n" * 300_000)


def test_links_are_still_links_where_there_are_few() -> None:
    assert "".join(markdown_paragraphs("A [link](http://x) and ![a picture](y).")) == "A link and a picture.\n\n"


def ignore(tag: str, attributes: object) -> None:
    """Takes an element."""


def test_xml_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OpenbookError, match="book has over 256 elements deep"):
        parse_xml("book", b"<a>" * 500, ignore)
    monkeypatch.setattr(limits, "MAXIMUM_ELEMENTS", 10)
    with pytest.raises(OpenbookError, match="book has over 10 elements"):
        parse_xml("book", b"<p>" + b"<a/>" * 20 + b"</p>", ignore)
    with pytest.raises(OpenbookError, match="a tag of over 1 MB"):
        parse_xml("book", b"<p " + b"".join(b"a%d='' " % number for number in range(300_000)) + b"/>", ignore)


def endless() -> Iterator[str]:
    yield "some text"
    while True:
        with suppress(Exception):  # as some parsers do
            sum(range(1000))


def read_endless() -> None:
    chunks = limit_time("slow.md", 0, endless())
    assert next(chunks) == "some text"
    with soon(), pytest.raises(OpenbookError, match=r"slow\.md: not read within 0 seconds; convert it"):
        next(chunks)


def test_a_book_may_take_only_so_long_in_any_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SECONDS", 0.2)
    read_endless()
    with ThreadPoolExecutor(2) as pool:
        for each in [pool.submit(read_endless) for _ in range(4)]:
            each.result()


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the system does not say what memory is used")
def test_a_book_may_take_only_so_much_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAXIMUM_MEMORY", 50 << 20)

    def greedy() -> Iterator[str]:
        held = []
        while True:
            held.append(bytearray(100_000))
            time.sleep(0.001)
        yield ""

    with soon(), pytest.raises(OpenbookError, match=r"greedy\.pdf: takes over 0 GB of memory to read"):
        next(limit_time("greedy.pdf", 0, greedy()))


def test_what_a_reader_waits_for_and_what_others_do_between_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    if not hasattr(time, "pthread_getcpuclockid"):
        pytest.skip("this system has no clock of a thread")
    monkeypatch.setattr(limits, "SECONDS", 0.5)

    def waiting() -> Iterator[str]:
        for _ in range(3):
            time.sleep(0.4)
            yield "text"

    for _ in limit_time("slow.md", 0, waiting()):
        ended = time.thread_time() + 0.4
        while time.thread_time() < ended:
            pass


def test_a_tag_that_does_not_end_is_not_read_again_for_every_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    scanned = 0

    def feed(parser: HTMLParser, data: str) -> None:
        nonlocal scanned
        scanned += len(parser.rawdata) + len(data)
        HTMLParser.feed(parser, data)

    monkeypatch.setattr("openbook.text.corpus.readers.html._ParagraphParser.feed", feed)
    chunks = ["<p>words<a ", *["<a " * 100] * 200, "x>more"]
    assert "".join(html_paragraphs(chunks)) == "wordsmore\n\n"
    assert scanned < 3 * len("".join(chunks))
    saved = "<p>words <img src='data:" + "A" * 3_000 + "'> go on"
    assert "".join(html_paragraphs(saved[i : i + 100] for i in range(0, len(saved), 100))) == "words go on\n\n"


CHAPTER = f"<p>{'The keeper counted the boats. ' * 9}</p>"


def package(items: str, spine: str) -> str:
    return f"<package><metadata>&nbsp;</metadata><manifest>{items}</manifest><spine>{spine}</spine></package>"


def test_odd_items_cost_themselves_and_are_named(tmp_path: Path) -> None:
    items = (
        '<item id=" a " href="TEXT/A.xhtml" media-type="application/xhtml+xml"/>'
        '<item id="b" href="missing.xhtml" media-type="application/xhtml+xml"/>'
        '<item id="c" href="/OEBPS/c.xhtml#start" media-type="text/x-oeb1-document"/>'
        '<item id="d" href=" d.xml " media-type="application/xml"/>'
        '<item id="e" href="cover.svg" media-type="image/svg+xml"/>'
    )
    spine = "".join(f'<itemref idref="{name}"/>' for name in "abcde")
    names = {"text/a.xhtml": "A", "c.xhtml": "C", "d.xml": "D", "cover.svg": "E"}
    chapters = {name: f"<h1>{title}</h1>{CHAPTER}" for name, title in names.items()}
    raw = read_document(make_epub(tmp_path / "book.epub", chapters, opf=package(items, spine)))
    text = "".join(raw.chunks)
    assert [part[1] for part in text.split("\n\n") if part.startswith("\0")] == ["A", "C", "D"]
    assert raw.notes == [
        "missing.xhtml: in its reading order, but not in the archive",
        "cover.svg: not a chapter but image/svg+xml",
    ]


def test_endless_reading_orders_are_refused(tmp_path: Path) -> None:
    opf = package("", '<itemref idref="a"/>' * 50_000)
    with pytest.raises(OpenbookError, match=r"a\.epub: lists over 40,000 parts"):
        read(make_epub(tmp_path / "a.epub", {"a.xhtml": CHAPTER}, opf=opf))


def test_a_damaged_member_costs_itself(tmp_path: Path) -> None:
    path = make_epub(tmp_path / "book.epub", {"a.xhtml": f"<h1>A</h1>{CHAPTER}", "b.xhtml": f"<h1>B</h1>{CHAPTER}"})
    with zipfile.ZipFile(path) as archive:
        place = archive.getinfo("OEBPS/a.xhtml").header_offset + 30 + len("OEBPS/a.xhtml") + 20
    content = bytearray(path.read_bytes())
    content[place : place + 20] = bytes(20)
    path.write_bytes(content)
    raw = read_document(path)
    assert "".join(raw.chunks).startswith("\0B\n\n")
    assert raw.notes[0].startswith("OEBPS/a.xhtml: damaged (")


def test_other_archives_are_bounded_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "FREE_BYTES", 10_000)
    with zipfile.ZipFile(tmp_path / "a.docx", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("word/document.xml", "<p>" + " " * 1_000_000 + "</p>")
    with pytest.raises(OpenbookError, match=r"a\.docx: unpacks to far more than its size"):
        read(tmp_path / "a.docx")


def test_pages_of_a_pdf_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from openbook.text.corpus.readers import pdf

    path = make_pdf(tmp_path / "a.pdf", [f"{prose(1)[:40]} {letter * 5}" for letter in "abcd"])
    assert all(letter * 5 in read(path) for letter in "abcd")
    monkeypatch.setattr(pdf, "MAXIMUM_LETTERS", 30)
    with pytest.raises(OpenbookError, match=r"a\.pdf: over 30 letters on one page; convert it to txt"):
        read(path)
    monkeypatch.setattr(pdf, "MAXIMUM_LETTERS", 300)
    monkeypatch.setattr(pdf, "MAXIMUM_PAGES", 3)
    with pytest.raises(OpenbookError, match=r"a\.pdf: over 3 pages"):
        read(path)
