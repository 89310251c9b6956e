"""What is beside the text in Markdown, HTML and office formats, and what only looks as if it were."""

import zipfile
from pathlib import Path

import pytest

from openbook.errors import OpenbookError
from openbook.text.corpus.readers.document import read_document
from openbook.text.corpus.readers.html import html_paragraphs
from openbook.text.corpus.readers.markdown import markdown_paragraphs

STORY = "The tale itself begins here."


def read(path: Path) -> str:
    return "".join(read_document(path).chunks)


def html(page: str) -> str:
    return "".join(html_paragraphs([page]))


def markdown(page: str) -> str:
    return "".join(markdown_paragraphs(page))


@pytest.mark.parametrize(
    "front",
    [
        "---\ntitle: x\n---\n",
        "---  \ntitle: x\nauthor: y\n---\t\n",
        "---\ntitle: x\n...\n",
        "---\n# a comment\ntitle: x\n---\n",
        '+++\ntitle = "x"\n+++\n',
    ],
)
def test_front_matter_is_not_the_text(front: str) -> None:
    assert markdown(f"{front}\n{STORY}\n") == f"{STORY}\n\n"


@pytest.mark.parametrize("start", ["---\n\n", "---\n", "***\n\n", "+++\n\n"])
def test_a_leading_rule_is_not_front_matter(start: str) -> None:
    assert "First words of it." in markdown(f"{start}First words of it.\n\n---\n\n{STORY}\n")


def test_html_within_markdown_is_read_as_html() -> None:
    assert markdown("Roses are red<br>violets<br/>are blue.") == "Roses are red\nviolets\nare blue.\n\n"
    page = "A <ruby>漢<rt>かん</rt></ruby> sign, <b>a &lt; b</b>\nand `x<y`."
    assert markdown(page) == "A 漢 sign, a < b\nand x<y.\n\n"


def test_tables_notes_and_tasks_of_markdown() -> None:
    page = "| Name | Place |\n|---|:--|\n| Anna | *the* sea |\n\nText.[^1] ~~Old~~\n\n[^1]: A note.\n\n- [ ] to do\n"
    assert markdown(page) == "Name Place\nAnna the sea\n\nText. Old\n\nA note.\n\nto do\n\n"


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("<ruby>東京<rp>(</rp><rt>とうきょう</rt><rp>)</rp></ruby>へ<ruby>行<rt>い</ruby>く", "東京へ行く"),
        ("<ruby>東<rt>とう<rb>京<rt>きょう</ruby>へ", "東京へ"),
        ("down to the<span class='pagenum'>[Pg 12]</span> harbour", "down to the harbour"),
        ("fore<span epub:type='pagebreak'>13</span>man", "foreman"),
        ("the yard.<a href='#n1' class='x'><sup>[1]</sup></a> So", "the yard. So"),
        ("the yard.<sup><a href='n.html#n1'>*</a></sup> So", "the yard. So"),
        ("10 m<sup>2</sup> of <a href='#top'>7</a>", "10 m2 of 7"),
        ("a<span hidden>secret</span>b <i style='display: none'>x</i>c", "ab c"),
        ("One<b>two</b> <i> three</i>", "Onetwo three"),
        ("A head<a class='headerlink' href='#a'>¶</a><dialog>shut</dialog><dialog open> ajar</dialog>", "A head ajar"),
        ("read<span class='sr-only'> aloud</span> it", "read it"),
        ("a<canvas>no canvas here</canvas>b<video src='x'>no video</video>c<noembed>no plugin</noembed>", "abc"),
        ("Do&shy;nau&#173;dampf in the o&#64259;ce", "Donaudampf in the office"),
    ],
)
def test_what_is_beside_the_text_is_left_out(page: str, text: str, tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(f"<p>{page}</p>", "utf-8")
    assert read(tmp_path / "a.html") == f"{text}\n\n"


def test_hidden_elements_end_where_they_end() -> None:
    assert html("<div hidden>a<div>b</div>c</div><p>d") == "d\n\n"
    assert html("<p hidden>a<p>b") == "b\n\n"
    assert html("<nav>a<script>if (x) y()</script></nav><pre> b") == " b\n\n"


@pytest.mark.parametrize("tag", ["nav", "object", "noscript", "iframe", "select", "div hidden", "rt"])
def test_what_nobody_closes_does_not_swallow_the_book(tag: str) -> None:
    page = f"<p>Before.</p><{tag}><p>After it.</p><script>code()</script><p>The story goes on.</p>"
    assert html(page) == "Before.\n\nAfter it.\n\nThe story goes on.\n\n"


FB2 = """<?xml version="1.0" encoding="windows-1251"?><FictionBook><description><p>О книге</p></description>
<body><section><title><p>Один</p></title><p>Смотритель
<emphasis>считал</emphasis> лодки<a type="note">1</a>.</p></section></body>
<body name="notes"><p>Примечание</p></body><binary id="c">AAECAwQ=</binary></FictionBook>"""
WORD = """<w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:body>
<w:p><w:pPr><w:pStyle w:val="Heading1"/></w:pPr><w:r><w:t>One</w:t></w:r></w:p>
<w:p><w:r><w:t>The keeper </w:t></w:r><w:del><w:r><w:delText>slept</w:delText></w:r></w:del><w:r><w:t>counted.</w:t>
<w:br/><w:t>Boats.</w:t></w:r></w:p></w:body></w:document>"""
OPEN = """<office:document-content xmlns:office="o" xmlns:text="t"><text:h>One</text:h><text:p>The keeper
<text:span>counted</text:span><text:note><text:p>note</text:p></text:note>.</text:p></office:document-content>"""


def test_office_formats_are_read_whatever_the_suffix(tmp_path: Path) -> None:
    fb2, docx, odt, rtf = (tmp_path / f"{number}.txt" for number in range(4))
    fb2.write_bytes(FB2.encode("cp1251"))
    assert read(fb2) == "\0Один\n\nСмотритель считал лодки.\n\n"
    for path, member, content in ((docx, "word/document.xml", WORD), (odt, "content.xml", OPEN)):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(member, content)
    assert read(docx) == "\0One\n\nThe keeper counted.\nBoats.\n\n"
    assert read(odt) == "\0One\n\nThe keeper counted.\n\n"
    rtf.write_bytes(rb"{\rtf1\ansi{\fonttbl{\f0 Times;}}\f0 The \b light\b0  of \'e9t\'e9.\par Next \u8212?.\par}")
    assert read(rtf) == "The light of été.\n\nNext —.\n\n"


def test_readings_and_hidden_text_of_office_files_are_left_out(tmp_path: Path) -> None:
    word, text = (
        """<w:document xmlns:w="w"><w:body><w:p><w:r><w:ruby><w:rt><w:r><w:t>とうきょう</w:t></w:r></w:rt>
        <w:rubyBase><w:r><w:t>東京</w:t></w:r></w:rubyBase></w:ruby></w:r><w:r><w:rPr><w:vanish/></w:rPr><w:t>secret</w:t></w:r>
        <w:r><w:rPr><w:vanish w:val="false"/></w:rPr><w:t>へ</w:t></w:r></w:p></w:body></w:document>""",
        """<o:document-content xmlns:o="o" xmlns:text="t"><text:p><text:ruby><text:ruby-base>東京</text:ruby-base>
        <text:ruby-text>とうきょう</text:ruby-text></text:ruby>へ</text:p></o:document-content>""",
    )
    for name, member, content in (("a.docx", "word/document.xml", word), ("a.odt", "content.xml", text)):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr(member, content)
    assert read(tmp_path / "a.docx") == "東京へ\n\n"
    assert read(tmp_path / "a.odt").replace(" ", "") == "東京へ\n\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600, "an old Word, Excel or PowerPoint file"),
        (b"Title" + b"\0" * 55 + b"BOOKMOBI" + b"\0" * 90, "a Kindle book"),
        (b"AT&TFORM" + b"x" * 90, "a DjVu scan"),
        (b"\x1f\x8b\x08" + b"x" * 90, "a gzip archive, which cannot be read; unpack it"),
        (b"PK\x03\x04" + b"x" * 90, "a ZIP archive; unpack it"),
    ],
)
def test_other_formats_are_refused_by_name(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "book.txt").write_bytes(content)
    with pytest.raises(OpenbookError, match=message):
        read_document(tmp_path / "book.txt")


def test_a_page_saved_as_txt_is_read_as_html(tmp_path: Path) -> None:
    (tmp_path / "page.txt").write_text(f"<!DOCTYPE html>\n<html><body><p>{STORY}</body></html>")
    assert read(tmp_path / "page.txt") == f"{STORY}\n\n"
