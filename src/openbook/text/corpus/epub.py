"""EPUB → text, in reading order: container.xml → package (OPF) → spine → XHTML.

The archive is not trusted: what is unpacked is counted against limits, and XML that declares entities is refused.
"""

import io
import posixpath
import zipfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote
from xml.parsers import expat

from openbook.errors import OpenbookError
from openbook.text.corpus.books import shown
from openbook.text.corpus.markup import declared_encoding, html_paragraphs

MOST_MEMBERS = 20_000
LARGEST_MEMBER = 32 << 20
LARGEST_BOOK = 256 << 20
"""Unpacked bytes of all chapters; the longest novels have about 20 MB."""

Element = tuple[str, dict[str, str]]


def read_epub(path: Path) -> Iterator[str]:
    """The paragraphs of an EPUB. Raises OpenbookError for protected, overfull or chapterless ones."""
    with zipfile.ZipFile(path) as archive:
        if len(archive.infolist()) > MOST_MEMBERS:
            raise OpenbookError(f"{shown(path)}: over {MOST_MEMBERS:,} files inside; unpack it and name the folder")
        package = next((a["full-path"] for n, a in _elements(archive, "META-INF/container.xml") if n == "rootfile"), "")
        chapters = _chapters(archive, package)
        if not chapters:
            raise OpenbookError(f"{shown(path)}: no chapters in its reading order; convert it to txt")
        if not _protected(archive).isdisjoint(chapters):
            raise OpenbookError(f"{shown(path)}: protected by DRM; use a copy without protection")
        unpacked = 0
        for chapter in chapters:
            markup = _unpack(archive, chapter)
            unpacked += len(markup)
            if unpacked > LARGEST_BOOK:
                raise OpenbookError(f"{shown(path)}: unpacks to over {LARGEST_BOOK >> 20} MB; likely a zip bomb")
            yield from html_paragraphs(_decoded(markup))


def _chapters(archive: zipfile.ZipFile, package: str) -> list[str]:
    """Names of the XHTML members in reading order, each once, without the table of contents."""
    elements = _elements(archive, package)
    items = {a.get("id", ""): a for name, a in elements if name == "item"}
    spine = [items.get(a.get("idref", ""), {}) for name, a in elements if name == "itemref"]
    texts = [
        item.get("href", "")
        for item in spine
        if "html" in item.get("media-type", "") and "nav" not in item.get("properties", "").split()
    ]
    folder = posixpath.dirname(package)
    members = [posixpath.normpath(posixpath.join(folder, unquote(href))) for href in texts]
    return list(dict.fromkeys(members))


def _protected(archive: zipfile.ZipFile) -> set[str]:
    """Names of encrypted members; fonts often are, in books that are otherwise open."""
    if "META-INF/encryption.xml" not in archive.namelist():
        return set()
    elements = _elements(archive, "META-INF/encryption.xml")
    return {unquote(a.get("URI", "")) for name, a in elements if name == "CipherReference"}


def _unpack(archive: zipfile.ZipFile, name: str) -> bytes:
    with archive.open(name) as member:  # sizes in the archive's own table may lie, so count while reading
        content = member.read(LARGEST_MEMBER + 1)
    if len(content) > LARGEST_MEMBER:
        raise OpenbookError(
            f"{shown(archive.filename or '')}: {name} unpacks to over {LARGEST_MEMBER >> 20} MB; likely a zip bomb"
        )
    return content


def _elements(archive: zipfile.ZipFile, name: str) -> list[Element]:
    """(local name, attributes) of every element of a small XML member, in order."""
    found: list[Element] = []

    def refuse_entity(entity: str, *_: object) -> None:
        raise OpenbookError(
            f"{shown(archive.filename or '')}: {name} declares the XML entity {entity}; not a sane EPUB"
        )

    parser = expat.ParserCreate(namespace_separator=" ")
    parser.EntityDeclHandler = refuse_entity
    parser.StartElementHandler = lambda tag, attributes: found.append((tag.rpartition(" ")[2], attributes))
    parser.Parse(_unpack(archive, name), True)
    return found


def _decoded(markup: bytes) -> Iterator[str]:
    try:
        text = markup.decode("utf-8-sig")
    except UnicodeDecodeError:
        utf_16 = markup[:2] in (b"\xff\xfe", b"\xfe\xff")
        text = markup.decode("utf-16" if utf_16 else declared_encoding(markup[:4096]) or "cp1252", "replace")
    yield io.IncrementalNewlineDecoder(None, translate=True).decode(text.replace("\0", ""), final=True)
