"""EPUB → text in reading order: container.xml → package (OPF) → spine → XHTML.

The archive is not trusted (see `limits`). What is wrong with one chapter costs that chapter, not the book.
"""

import io
import posixpath
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote
from xml.parsers import expat

from openbook.errors import OpenbookError
from openbook.text.corpus.readers.encodings import decode_bytes
from openbook.text.corpus.readers.html import declared_encoding, html_paragraphs
from openbook.text.corpus.readers.limits import MAXIMUM_MEMBERS, Archive, parse_xml
from openbook.text.printable import excerpt

CONTAINER = "META-INF/container.xml"
ENCRYPTION = "META-INF/encryption.xml"

MARKUP_TYPES = frozenset(["", "application/xml", "text/xml", "text/plain", "application/x-dtbook+xml"])
MARKUP_SUFFIXES = (".xhtml", ".html", ".htm", ".xml")

Attributes = dict[str, str]


def read_epub(path: Path, notes: list[str]) -> Iterator[str]:
    """The paragraphs of an EPUB; a line is added to `notes` for each chapter that is left out.

    Raises:
        OpenbookError: the book is protected, has no chapters, or unpacks to more than the limits.
    """
    with Archive(path) as archive:
        chapters = list(_chapters(archive, notes))
        protected = _encrypted(archive)
        if chapters and protected.issuperset(chapters):
            raise OpenbookError(f"{archive.name}: protected by DRM; use a copy without protection")
        read = 0
        for chapter in chapters:
            if chapter in protected:
                notes.append(f"{excerpt(chapter)}: protected by DRM")
                continue
            try:
                markup = archive.read(chapter)
            except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
                notes.append(f"{excerpt(chapter)}: damaged ({error})")
                continue
            read += 1
            yield from html_paragraphs(_decode(markup))
        if not read:
            raise OpenbookError(f"{archive.name}: no chapters in its reading order; convert it to txt")


def _chapters(archive: Archive, notes: list[str]) -> Iterator[str]:
    """Names of the XHTML members in reading order, each once, without the table of contents."""
    package = _package(archive)
    items: dict[str, Attributes] = {}
    spine: list[str] = []
    for tag, attributes in _elements(archive, package, frozenset(["item", "itemref"]), notes):
        if tag == "item":
            items[attributes.get("id", "").strip()] = attributes
        else:
            spine.append(attributes.get("idref", "").strip())
    members = _by_name(archive.members)
    seen: set[str] = set()
    for identifier in dict.fromkeys(spine):
        item = items.get(identifier, {})
        fallback = items.get(item.get("fallback", "").strip(), {})
        if not _is_markup(item) and _is_markup(fallback):
            item = fallback
        href = item.get("href", "").strip()
        if "nav" in item.get("properties", "").split():
            continue
        name = _member(members, package, href)
        if name is None:
            notes.append(f"{excerpt(href or identifier)}: in its reading order, but not in the archive")
        elif not _is_markup(item):
            notes.append(f"{excerpt(href)}: not a chapter but {excerpt(item.get('media-type', '').strip())}")
        elif name not in seen:
            seen.add(name)
            yield name


def _package(archive: Archive) -> str:
    """Name of the package: what the container says, else the first member that looks like one."""
    members = _by_name(archive.members)
    container = members.get(_plain(CONTAINER))
    roots = _elements(archive, container, frozenset(["rootfile"]), []) if container else []
    named = next((attributes.get("full-path", "").strip() for _, attributes in roots), "")
    found = _member(members, "", named) or next((n for n in archive.members if n.lower().endswith(".opf")), None)
    if found is None:
        raise OpenbookError(f"{archive.name}: damaged (no package that lists its chapters); convert it to txt")
    return found


def _is_markup(item: Attributes) -> bool:
    kind = item.get("media-type", "").strip().lower()
    if "html" in kind or "oeb1-document" in kind:
        return True
    path = item.get("href", "").partition("#")[0].strip().lower()
    return kind in MARKUP_TYPES and path.endswith(MARKUP_SUFFIXES)


def _member(members: dict[str, str], package: str, href: str) -> str | None:
    """The member that a reference in the package means."""
    folder = posixpath.dirname(package)
    bare = href.partition("#")[0].partition("?")[0]
    for path in (href, unquote(href), bare, unquote(bare)):
        path = path.replace("\\", "/")
        for base in (folder, ""):
            joined = posixpath.normpath(posixpath.join(base, path.lstrip("/") if path.startswith("/") else path))
            if path and (found := members.get(_plain(joined))):
                return found
    return None


def _by_name(names: list[str]) -> dict[str, str]:
    """Members by their names without differences of case, accents' encoding and slashes."""
    return {_plain(posixpath.normpath(name.replace("\\", "/"))): name for name in reversed(names)}


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _encrypted(archive: Archive) -> set[str]:
    """Names of encrypted members; fonts often are, in books that are otherwise open."""
    members = _by_name(archive.members)
    listing = members.get(_plain(ENCRYPTION))
    if listing is None:
        return set()
    references = _elements(archive, listing, frozenset(["CipherReference"]), [])
    found = (_member(members, "", attributes.get("URI", "")) for _, attributes in references)
    return {name for name in found if name}


def _elements(archive: Archive, member: str, wanted: frozenset[str], notes: list[str]) -> list[tuple[str, Attributes]]:
    """(local name, attributes) of the wanted elements of an XML member, in order, as far as it is well-formed."""
    found: list[tuple[str, Attributes]] = []

    def start(tag: str, attributes: Attributes) -> None:
        if tag in wanted:
            found.append((tag, attributes))
            if len(found) > 2 * MAXIMUM_MEMBERS:
                raise OpenbookError(
                    f"{archive.name}: lists over {len(found) - 1:,} parts; not a sane book, so leave it out"
                )

    try:
        parse_xml(f"{archive.name}: {excerpt(member)}", archive.read(member).lstrip(), start)
    except expat.ExpatError as error:
        notes.append(f"{excerpt(member)}: not well-formed ({error}); what follows there is not read")
    return found


def _decode(markup: bytes) -> Iterator[str]:
    text = decode_bytes(markup, declared_encoding(markup[:4096])).removeprefix("\ufeff")
    yield io.IncrementalNewlineDecoder(None, translate=True).decode(text.replace("\0", ""), final=True)
