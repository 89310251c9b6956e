"""Text files of all encodings, HTML and Markdown."""

import codecs
import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest

from openbook.errors import OpenbookError
from openbook.text.corpus.readers import document, encodings, markdown
from openbook.text.corpus.readers.document import read_document
from openbook.text.corpus.readers.html import declared_encoding, html_paragraphs
from openbook.text.corpus.readers.markdown import markdown_paragraphs
from soon import soon

GERMAN = "Über den Wäldern lag süßer Nebel; die Mädchen hörten schöne Geschichten.\n" * 20


def read(path: Path) -> tuple[str, str]:
    raw = read_document(path)
    return "".join(raw.chunks), raw.encoding


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        (GERMAN.encode(), "utf-8"),
        (codecs.BOM_UTF8 + GERMAN.encode(), "utf-8-sig"),
        (codecs.BOM_UTF16_LE + GERMAN.encode("utf-16-le"), "utf-16"),
        (codecs.BOM_UTF16_BE + GERMAN.encode("utf-16-be"), "utf-16"),
        (codecs.BOM_UTF32_LE + GERMAN.encode("utf-32-le"), "utf-32"),
        (GERMAN.encode("cp1252"), "cp1252"),
    ],
)
def test_encodings(tmp_path: Path, content: bytes, encoding: str) -> None:
    path = tmp_path / "book.txt"
    path.write_bytes(content)
    assert read(path) == (GERMAN, encoding)


def test_guessed_encodings_read_right(tmp_path: Path) -> None:
    russian = "Однажды весною, в час небывало жаркого заката, в Москве появились два гражданина.\n" * 20
    for encoding in ("cp1251", "koi8-r"):
        (tmp_path / "book.txt").write_bytes(russian.encode(encoding))
        assert read(tmp_path / "book.txt")[0] == russian


def test_a_late_first_odd_byte_is_seen(tmp_path: Path) -> None:
    text = "plain ascii line\n" * 100_000 + GERMAN
    (tmp_path / "book.txt").write_bytes(text.encode("cp1252"))
    assert read(tmp_path / "book.txt") == (text, "cp1252")


def test_a_few_broken_bytes_do_not_spoil_utf8(tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_bytes(GERMAN.encode() + b"broken \xff byte\n" + GERMAN.encode())
    text, encoding = read(tmp_path / "book.txt")
    assert encoding == "utf-8"
    assert text == GERMAN + "broken \ufffd byte\n" + GERMAN


def test_line_ends_become_lf_even_across_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encodings, "CHUNK", 7)
    (tmp_path / "book.txt").write_bytes(b"one\r\ntwo\rthree\n\r\nfour\r\n" * 50)
    raw = read_document(tmp_path / "book.txt")
    chunks = list(raw.chunks)
    assert "".join(chunks) == "one\ntwo\nthree\n\nfour\n" * 50
    assert all(piece.endswith("\n") for piece in chunks)


def test_text_is_kept_as_it_is(tmp_path: Path) -> None:
    text = "\u00e9, x\u0301;\ttabs  and   spaces, \u2028, \x0c, \x1f, \U0001f600 \u200d\n"
    (tmp_path / "book.txt").write_text(text, encoding="utf-8")
    assert read(tmp_path / "book.txt")[0] == text


def test_letters_and_their_marks_are_composed_as_people_type_them(tmp_path: Path) -> None:
    """A Mac writes them apart, in French, Korean and Japanese alike."""
    text = "Le café était fermé, 각하, が, Việt\n" * 20
    (tmp_path / "book.txt").write_text(unicodedata.normalize("NFD", text), encoding="utf-8")
    assert read(tmp_path / "book.txt")[0] == text
    (tmp_path / "book.html").write_text(f"<p>{unicodedata.normalize('NFD', text)}", encoding="utf-8")
    assert read(tmp_path / "book.html")[0].split() == text.split()


@pytest.mark.parametrize(
    "content", [b"PNG\0\0data", b"\xff\xfe" + "a\0b".encode("utf-16-le"), b"x" * 200 + b"\0\1\2\3"]
)
def test_binary_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "picture.txt").write_bytes(content)
    with pytest.raises(OpenbookError, match=r"picture\.txt: binary"):
        read(tmp_path / "picture.txt")


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").touch()
    os.mkfifo(tmp_path / "pipe.txt")
    for path, message in ((tmp_path / "empty.txt", "empty"), (tmp_path / "pipe.txt", "regular"), (tmp_path, "folder")):
        with pytest.raises(OpenbookError, match=message):
            read_document(path)


def html(text: str) -> str:
    return "".join(html_paragraphs([text]))


def test_html_becomes_paragraphs() -> None:
    page = """<!DOCTYPE html><html><head><title>No</title><style>p {color: red}</style>
    <script>if (1 < 2) document.write("<p>no</p>")</script></head><body><nav><ul><li>Home</li></ul></nav>
    <h1>Loomings</h1><p>Call me   <i>Ishmael</i>.
    Some years&nbsp;ago&mdash;never &lt;mind&gt;</p>unwrapped<br/>text<div>in <b>a</b> box<div>nested</div>after</div>
    <ul><li>one<li>two</ul><table><tr><td>a</td><td>b</td></tr></table><pre>  kept
   as it is</pre><script src="x"/><p>last"""
    assert html(page).split("\n\n") == [
        "\0Loomings",
        "Call me Ishmael. Some years\u00a0ago—never <mind>",
        "unwrapped\ntext",
        "in a box",
        "nested",
        "after",
        "one",
        "two",
        "a b",
        "  kept\n   as it is",
        "last",
        "",
    ]


def test_html_in_pieces_is_the_same_as_whole() -> None:
    page = "<p>caf&eacute; <b>and</b> tea</p><script>a < b</script><h2>Next</h2><p>&#x263a; end</p>" * 3
    for size in (1, 2, 3, 7):
        pieces = [page[i : i + size] for i in range(0, len(page), size)]
        assert "".join(html_paragraphs(pieces)) == html(page)


@pytest.mark.parametrize(
    "page",
    [
        "<div>" * 50_000 + "deep" + "</div>" * 50_000,
        "</p></nav></pre></script>deep",
        "<![odd[x]]>deep",
        "<p <p <b>>deep",
    ],
)
def test_odd_html_is_read_without_complaint(page: str) -> None:
    assert "deep" in html(page)


def test_hostile_html_takes_no_more_than_linear_time() -> None:
    with soon():  # closing the parser on one of these took a minute
        for hostile in ("<a ", "<!--", "</a ", "<a b='", "<![CDATA[", "<?"):
            html(hostile * 50_000)


def test_too_much_markup_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(markdown, "MAXIMUM_BYTES", 1 << 20)
    (tmp_path / "a.md").write_text("word " * 300_000)
    with pytest.raises(OpenbookError, match=r"a\.md: over 1 MB of markup; split it"):
        read_document(tmp_path / "a.md")


def test_errors_of_the_disk_while_reading_name_the_book(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "book.txt").write_text("text")

    def fail(path: Path, encoding: str) -> Iterator[str]:
        yield "text"
        raise OSError(5, "Input/output error")  # as the system gives it while reading: without a name

    monkeypatch.setattr(document, "decode_file", fail)
    with pytest.raises(OpenbookError, match=r"book\.txt: Input/output error; check"):
        read(tmp_path / "book.txt")


def test_html_encoding_is_declared_or_utf8(tmp_path: Path) -> None:
    page = "<html><head><meta charset='iso-8859-2'></head><body><p>Zażółć gęślą jaźń</p></body></html>"
    for encoding in ("iso-8859-2", "utf-8"):
        (tmp_path / "page.html").write_bytes(page.encode(encoding))
        assert read(tmp_path / "page.html")[0] == "Zażółć gęślą jaźń\n\n"
    assert declared_encoding(b'<?xml version="1.0" encoding="ISO-8859-1"?>') == "cp1252"
    assert declared_encoding(b"<meta charset=nonsense>") is None
    assert declared_encoding(b"<meta charset=rot13>") is None


def test_markdown_becomes_paragraphs() -> None:
    page = """---
title: no
---
# One *title*

Some **bold** text
over two lines with `code` and [a link](http://example.org).

* first
* second

> quoted

```python
x = 1
```

<div>html <b>too</b></div>

![picture of a whale](whale.png)
"""
    assert "".join(markdown_paragraphs(page)).split("\n\n") == [
        "\0One title",
        "Some bold text\nover two lines with code and a link.",
        "first",
        "second",
        "quoted",
        "x = 1",
        "html too",
        "picture of a whale",
        "",
    ]
