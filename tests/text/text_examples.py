"""Small real files of every format, made by code."""

import random
import zipfile
from pathlib import Path

CONTAINER = """<?xml version="1.0"?><container version="1.0" xmlns="urn:oasis:names:tc:opendocument:xmlns:container">
<rootfiles><rootfile full-path="OEBPS/book.opf" media-type="application/oebps-package+xml"/></rootfiles></container>"""


def words(count: int, seed: int = 0) -> str:
    """Random prose of so many words, different for every seed."""
    generator = random.Random(seed)
    vocabulary = [
        "".join(generator.choices("abcdefghijklmnopqrstuvwxyz", k=generator.randint(2, 9))) for _ in range(400)
    ]
    return " ".join(generator.choices(vocabulary, k=count))


def prose(paragraphs: int, seed: int = 0, length: int = 60) -> str:
    """Paragraphs of random prose, none of them alike."""
    return "\n\n".join(words(length, seed * 100_003 + number).capitalize() + "." for number in range(paragraphs)) + "\n"


def make_epub(
    path: Path, chapters: dict[str, str], *, opf: str | None = None, extra: dict[str, bytes] | None = None
) -> Path:
    """An EPUB whose spine lists the chapters in the order given, while the archive stores them backwards."""
    items = "".join(f'<item id="c{i}" href="{n}" media-type="application/xhtml+xml"/>' for i, n in enumerate(chapters))
    spine = "".join(f'<itemref idref="c{i}"/>' for i in range(len(chapters)))
    package = opf or (
        '<?xml version="1.0"?><package xmlns="http://www.idpf.org/2007/opf" version="3.0"><manifest>'
        f'<item id="nav" href="nav.xhtml" media-type="application/xhtml+xml" properties="nav"/>{items}</manifest>'
        f'<spine><itemref idref="nav"/>{spine}</spine></package>'
    )
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mimetype", "application/epub+zip")
        archive.writestr("META-INF/container.xml", CONTAINER)
        archive.writestr("OEBPS/book.opf", package)
        archive.writestr("OEBPS/nav.xhtml", "<html><body><p>Table of contents</p></body></html>")
        for name, body in reversed(chapters.items()):
            archive.writestr(f"OEBPS/{name}", f"<html><head><title>T</title></head><body>{body}</body></html>")
        for name, content in (extra or {}).items():
            archive.writestr(name, content)
    return path


def make_pdf(path: Path, pages: list[str]) -> Path:
    """A minimal PDF, one line of text a page."""
    return make_pdf_lines(path, [[(72, 720, text)] if text else [] for text in pages])


def make_pdf_lines(path: Path, pages: list[list[tuple[int, int, str]]]) -> Path:
    """A minimal PDF of lines at places (x, y), with a correct table of offsets. \\1 is the ligature fi."""
    kids = " ".join(f"{4 + 2 * i} 0 R" for i in range(len(pages)))
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding << /Type /Encoding /Differences [1 /fi] >> >>",
    ]
    for i, lines in enumerate(pages):
        placed = " ".join(f"1 0 0 1 {x} {y} Tm ({text}) Tj" for x, y, text in lines)
        stream = f"BT /F1 12 Tf {placed} ET" if lines else ""
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {5 + 2 * i} 0 R"
            " /Resources << /Font << /F1 3 0 R >> >> >>"
        )
        objects.append(f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream")
    content, offsets = b"%PDF-1.4\n", []
    for number, each in enumerate(objects, 1):
        offsets.append(len(content))
        content += f"{number} 0 obj\n{each}\nendobj\n".encode("latin-1")
    table = "".join(f"{offset:010} 00000 n \n" for offset in offsets)
    size = len(objects) + 1
    content += f"xref\n0 {size}\n0000000000 65535 f \n{table}".encode()
    path.write_bytes(content + f"trailer\n<< /Size {size} /Root 1 0 R >>\nstartxref\n{len(content)}\n%%EOF".encode())
    return path
