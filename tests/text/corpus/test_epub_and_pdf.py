"""EPUB and PDF."""

import sys
import zipfile
from pathlib import Path

import pytest
from pypdf import PdfReader, PdfWriter

from openbook.errors import OpenbookError
from openbook.text.corpus.readers import limits, pdf
from openbook.text.corpus.readers.document import read_document
from text.text_examples import make_epub, make_pdf, make_pdf_lines


def read(path: Path) -> str:
    return "".join(read_document(path).chunks)


def test_epub_is_read_in_the_order_of_its_spine(tmp_path: Path) -> None:
    chapters = {"z%20one.xhtml": "<h1>One</h1><p>First é.</p>", "two.xhtml": "<h2>Two</h2><p>Second.</p>"}
    path = make_epub(tmp_path / "book.epub", chapters)
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    files["OEBPS/z one.xhtml"] = files.pop("OEBPS/z%20one.xhtml")  # names in the package are URLs
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    assert read(path) == "\0One\n\nFirst é.\n\n\0Two\n\nSecond.\n\n"


def test_epub_chapters_in_other_encodings(tmp_path: Path) -> None:
    path = make_epub(
        tmp_path / "book.epub",
        {"a.xhtml": ""},
        opf='<package><manifest><item id="a" href="../b.html" media-type="text/html"/></manifest>'
        '<spine><itemref idref="a"/></spine></package>',
        extra={"b.html": '<?xml version="1.0" encoding="iso-8859-1"?><p>caf\u00e9\r\nx</p>'.encode("latin-1")},
    )
    assert read(path) == "café x\n\n"


def test_zip_bombs_are_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "FREE_BYTES", 50_000)
    with pytest.raises(OpenbookError, match="zip bomb"):
        read(make_epub(tmp_path / "one.epub", {"a.xhtml": "x" * 200_000}))
    with pytest.raises(OpenbookError, match="zip bomb"):
        read(make_epub(tmp_path / "many.epub", {f"{i}.xhtml": "x" * 90_000 for i in range(3)}))
    monkeypatch.setattr(limits, "MAXIMUM_MEMBERS", 5)
    with pytest.raises(OpenbookError, match="over 5 files"):
        read(make_epub(tmp_path / "members.epub", {f"{i}.xhtml": "x" for i in range(9)}))


def test_entity_bombs_are_refused(tmp_path: Path) -> None:
    bomb = '<?xml version="1.0"?><!DOCTYPE p [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;">]><package>&b;</package>'
    with pytest.raises(OpenbookError, match=r"bomb\.epub: OEBPS/book\.opf declares the XML entity a"):
        read(make_epub(tmp_path / "bomb.epub", {"a.xhtml": ""}, opf=bomb))
    # In chapters, which are HTML, declared entities are simply not known.
    body = '<!DOCTYPE html [<!ENTITY x SYSTEM "file:///etc/passwd">]><p>&x; text</p>'
    assert "root" not in read(make_epub(tmp_path / "page.epub", {"a.xhtml": body}))


def test_a_chapter_named_again_and_again_is_read_once(tmp_path: Path) -> None:
    opf = (
        '<package><manifest><item id="a" href="a.xhtml" media-type="application/xhtml+xml"/></manifest><spine>'
        + '<itemref idref="a"/>' * 1000
        + "</spine></package>"
    )
    assert read(make_epub(tmp_path / "book.epub", {"a.xhtml": "<p>Once.</p>"}, opf=opf)) == "Once.\n\n"


def test_drm_is_named(tmp_path: Path) -> None:
    encryption = b'<encryption><CipherData><CipherReference URI="OEBPS/%s"/></CipherData></encryption>'
    chapters = {"a.xhtml": "<p>Text.</p>"}
    fonts = {"META-INF/encryption.xml": encryption % b"font.otf"}
    assert read(make_epub(tmp_path / "fonts.epub", chapters, extra=fonts)) == "Text.\n\n"
    with pytest.raises(OpenbookError, match="DRM"):
        read(make_epub(tmp_path / "drm.epub", chapters, extra={"META-INF/encryption.xml": encryption % b"a.xhtml"}))


@pytest.mark.parametrize("name", ["book.epub", "book.pdf"])
def test_every_damage_is_one_clear_line(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    whole = (
        make_epub(path, {"a.xhtml": "<p>Text.</p>"}) if name == "book.epub" else make_pdf(path, ["x"])
    ).read_bytes()
    for position in range(0, len(whole), 7):
        for content in (whole[:position], whole[:position] + bytes([whole[position] ^ 0xFF]) + whole[position + 1 :]):
            path.write_bytes(content)
            try:
                read(path)
            except OpenbookError as error:
                assert str(error).startswith(str(path))
                assert "\n" not in str(error)


def test_pdf_pages(tmp_path: Path) -> None:
    assert read(make_pdf(tmp_path / "book.pdf", ["First page.", "", "Third page."])) == "First page.\n\nThird page.\n\n"


def test_pdf_without_text_or_with_a_lock(tmp_path: Path) -> None:
    with pytest.raises(OpenbookError, match="OCR"):
        read(make_pdf(tmp_path / "scan.pdf", ["", ""]))
    for password, message in (("secret", "password"), ("", "")):
        writer = PdfWriter(clone_from=PdfReader(make_pdf(tmp_path / "open.pdf", ["Some text."])))
        writer.encrypt(password, "owner", algorithm="RC4-128")
        writer.write(tmp_path / "locked.pdf")
        if message:
            with pytest.raises(OpenbookError, match=message):
                read(tmp_path / "locked.pdf")
        else:  # many PDFs are only locked against printing
            assert read(tmp_path / "locked.pdf") == "Some text.\n\n"


def test_pdf_without_its_library_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pdfminer.pdfdocument", None)
    with pytest.raises(OpenbookError, match=r"pip install 'openbook\[pdf\]'"):
        read(make_pdf(tmp_path / "book.pdf", ["x"]))


def test_pdf_without_what_only_the_printed_page_has(tmp_path: Path) -> None:
    first = [
        (72, 760, "A TALE   12"),
        (72, 700, "The keeper found an ex-"),
        (72, 686, "traordinary letter in the of\1ce"),
    ]
    last = [(72, 760, "A TALE   13"), (72, 700, "body else was"), (72, 686, "there to read it."), (300, 40, "- 13 -")]
    first += [(72, 672, "and went home with it, for no-"), (300, 40, "12")]
    text = " ".join(read(make_pdf_lines(tmp_path / "book.pdf", [first, last])).split())
    assert text.startswith(
        "The keeper found an extraordinary letter in the office and went home with it, for nobody else "
    )
    assert text.endswith("was there to read it.")


def test_pdf_columns_are_read_one_after_the_other(tmp_path: Path) -> None:
    rows = [
        (x, 700 - 14 * row, f"{side} line {'abcdefgh'[row]} of it")
        for row in range(8)
        for x, side in ((72, "left"), (320, "right"))
    ]
    words = read(make_pdf_lines(tmp_path / "book.pdf", [rows])).split()
    assert [word for word in words if word in ("left", "right")] == ["left"] * 8 + ["right"] * 8


def test_pdf_chapter_headings_stay(tmp_path: Path) -> None:
    pages = [
        [(72, 700, f"CHAPTER {number}"), (72, 660, f"Words of {name} here.")] for number, name in enumerate("abc", 1)
    ]
    text = read(make_pdf_lines(tmp_path / "book.pdf", pages))
    assert [f"CHAPTER {number}" in text for number in (1, 2, 3)] == [True] * 3


def test_a_pdf_may_not_unpack_to_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pdf, "MAXIMUM_STREAM", 1000)
    writer = PdfWriter(clone_from=PdfReader(make_pdf(tmp_path / "a.pdf", ["word " * 1000])))
    writer.pages[0].compress_content_streams()
    writer.write(tmp_path / "bomb.pdf")
    with pytest.raises(OpenbookError, match=r"bomb\.pdf: damaged \(ValueError: a stream in it unpacks to over"):
        read(tmp_path / "bomb.pdf")
