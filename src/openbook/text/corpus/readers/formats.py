"""Which format a file is in: what its first bytes say, else its suffix."""

import re
import zipfile
from pathlib import Path
from typing import Literal

from openbook.errors import OpenbookError
from openbook.text.printable import printable_path

Format = Literal["text", "markdown", "html", "epub", "pdf", "fb2", "docx", "odt", "rtf"]

SUFFIXES: dict[str, Format] = {
    ".md": "markdown",
    ".markdown": "markdown",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".epub": "epub",
    ".pdf": "pdf",
    ".fb2": "fb2",
    ".docx": "docx",
    ".odt": "odt",
    ".rtf": "rtf",
}
FOREIGN = {  # where a format's mark stands, the mark, and what people call it
    "an old Word, Excel or PowerPoint file": (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"),
    "a Kindle book (MOBI)": (60, b"BOOKMOBI"),
    "a Kindle book (Topaz)": (0, b"TPZ"),
    "a DjVu scan": (0, b"AT&TFORM"),
    "a PostScript file": (0, b"%!PS-Adobe"),
    "a gzip archive": (0, b"\x1f\x8b"),
    "a 7z archive": (0, b"7z\xbc\xaf\x27\x1c"),
    "a RAR archive": (0, b"Rar!"),
}
ZIP = b"PK\x03\x04"
HTML = re.compile(rb"(?:<\?xml[^>]{0,200}>\s*)?(?:<!--.{0,2000}?-->\s*)?<(?:!doctype\s+html|html)\b", re.I | re.S)
FB2 = re.compile(rb"<FictionBook\b")


def detect_format(path: Path) -> Format:
    """The format of a file.

    Raises:
        OpenbookError: it is one that cannot be read.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(4096)
    for name, (offset, mark) in FOREIGN.items():
        if head[offset:].startswith(mark):
            cure = "unpack it" if "archive" in name else "convert it to epub, docx, pdf or txt"
            raise OpenbookError(f"{printable_path(path)}: {name}, which cannot be read; {cure}, or leave it out")
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if start.startswith(b"{\\rtf"):
        return "rtf"
    if start.startswith(b"%PDF-"):
        return "pdf"
    if head.startswith(ZIP):
        return _zip_format(path)
    if start.startswith(b"<") and FB2.search(start):
        return "fb2"
    suffix = path.suffix.lower()
    if suffix in SUFFIXES:
        return SUFFIXES[suffix]
    return "html" if HTML.match(start) else "text"


def _zip_format(path: Path) -> Format:
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        names = set()
    if "word/document.xml" in names:
        return "docx"
    if "META-INF/container.xml" in names:
        return "epub"
    if "content.xml" in names:
        return "odt"
    if path.suffix.lower() in (".epub", ".docx", ".odt"):
        return SUFFIXES[path.suffix.lower()]
    raise OpenbookError(f"{printable_path(path)}: a ZIP archive; unpack it and name the folder, or leave it out")
