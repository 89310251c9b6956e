"""EPUB → text in reading order: container.xml → package (OPF) → spine → XHTML.

The archive is not trusted: the bytes it unpacks to are counted against limits, and XML that declares entities is
refused.
"""

import io
import posixpath
import zipfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote
from xml.parsers import expat

from openbook.errors import OpenbookError
from openbook.text.corpus.readers.html import declared_encoding, html_paragraphs
from openbook.text.printable import printable_path

MAXIMUM_MEMBERS = 20_000
MAXIMUM_MEMBER_BYTES = 32 << 20
MAXIMUM_BOOK_BYTES = 256 << 20
"""Of all chapters, unpacked; the longest novels have about 20 MB."""

Element = tuple[str, dict[str, str]]


def read_epub(path: Path) -> Iterator[str]:
    """The paragraphs of an EPUB.

    Raises:
        OpenbookError: the book is protected, has no chapters, or unpacks to more than the limits.
    """
    name = printable_path(path)
    with zipfile.ZipFile(path) as archive:
        if len(archive.infolist()) > MAXIMUM_MEMBERS:
            raise OpenbookError(f"{name}: over {MAXIMUM_MEMBERS:,} files inside; unpack it and name the folder")
        package = next((a["full-path"] for n, a in _elements(archive, "META-INF/container.xml") if n == "rootfile"), "")
        chapters = _chapters(archive, package)
        if not chapters:
            raise OpenbookError(f"{name}: no chapters in its reading order; convert it to txt")
        if not _encrypted(archive).isdisjoint(chapters):
            raise OpenbookError(f"{name}: protected by DRM; use a copy without protection")
        unpacked = 0
        for chapter in chapters:
            markup = _unpack(archive, chapter)
            unpacked += len(markup)
            if unpacked > MAXIMUM_BOOK_BYTES:
                raise OpenbookError(f"{name}: unpacks to over {MAXIMUM_BOOK_BYTES >> 20} MB; likely a zip bomb")
            yield from html_paragraphs(_decode(markup))


def _chapters(archive: zipfile.ZipFile, package: str) -> list[str]:
    """Names of the XHTML members in reading order, each once, without the table of contents."""
    elements = _elements(archive, package)
    items = {a.get("id", ""): a for name, a in elements if name == "item"}
    spine = [items.get(a.get("idref", ""), {}) for name, a in elements if name == "itemref"]
    hrefs = [
        item.get("href", "")
        for item in spine
        if "html" in item.get("media-type", "") and "nav" not in item.get("properties", "").split()
    ]
    folder = posixpath.dirname(package)
    members = [posixpath.normpath(posixpath.join(folder, unquote(href))) for href in hrefs]
    return list(dict.fromkeys(members))


def _encrypted(archive: zipfile.ZipFile) -> set[str]:
    """Names of encrypted members; fonts often are, in books that are otherwise open."""
    if "META-INF/encryption.xml" not in archive.namelist():
        return set()
    elements = _elements(archive, "META-INF/encryption.xml")
    return {unquote(a.get("URI", "")) for name, a in elements if name == "CipherReference"}


def _unpack(archive: zipfile.ZipFile, name: str) -> bytes:
    with archive.open(name) as member:  # the sizes in the archive's table may lie, so count while reading
        content = member.read(MAXIMUM_MEMBER_BYTES + 1)
    if len(content) > MAXIMUM_MEMBER_BYTES:
        book = printable_path(archive.filename or "")
        raise OpenbookError(f"{book}: {name} unpacks to over {MAXIMUM_MEMBER_BYTES >> 20} MB; likely a zip bomb")
    return content


def _elements(archive: zipfile.ZipFile, name: str) -> list[Element]:
    """(local name, attributes) of every element of a small XML member, in order."""
    found: list[Element] = []

    def refuse_entity(entity: str, *_: object) -> None:
        book = printable_path(archive.filename or "")
        raise OpenbookError(f"{book}: {name} declares the XML entity {entity}; not a sane EPUB")

    parser = expat.ParserCreate(namespace_separator=" ")
    parser.EntityDeclHandler = refuse_entity
    parser.StartElementHandler = lambda tag, attributes: found.append((tag.rpartition(" ")[2], attributes))
    parser.Parse(_unpack(archive, name), True)
    return found


def _decode(markup: bytes) -> Iterator[str]:
    try:
        text = markup.decode("utf-8-sig")
    except UnicodeDecodeError:
        utf_16 = markup[:2] in (b"\xff\xfe", b"\xfe\xff")
        text = markup.decode("utf-16" if utf_16 else declared_encoding(markup[:4096]) or "cp1252", "replace")
    yield io.IncrementalNewlineDecoder(None, translate=True).decode(text.replace("\0", ""), final=True)
