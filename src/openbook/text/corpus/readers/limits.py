"""Bounds on what one book may cost. Files come from strangers: small ones can unpack to much, or parse for hours."""

import ctypes
import mmap
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar
from xml.parsers import expat

from openbook.errors import OpenbookError
from openbook.text.printable import printable, printable_path

SECONDS = 60.0
SECONDS_PER_MEGABYTE = 10.0
"""How long a reader may compute: about ten times what any sound book needs."""

MAXIMUM_MEMORY = 2 << 30
"""Bytes by which the process may grow while a book is read."""
MAXIMUM_MEMBERS = 20_000
MAXIMUM_UNPACKED = 256 << 20
"""Of one archive; the longest novels have about 20 MB."""
MAXIMUM_RATIO = 50
FREE_BYTES = 8 << 20
"""An archive may unpack to this and to `MAXIMUM_RATIO` times its size; prose shrinks to a third."""

MAXIMUM_ELEMENTS = 1_000_000
MAXIMUM_DEPTH = 256
MAXIMUM_TAG = 1 << 20
XML_BLOCK = 1 << 16


class Archive:
    """A ZIP file whose members are unpacked within bounds, and found although their names are written otherwise."""

    def __init__(self, path: Path) -> None:
        self.name = printable_path(path)
        self._file = zipfile.ZipFile(path)
        self._left = min(MAXIMUM_UNPACKED, FREE_BYTES + MAXIMUM_RATIO * path.stat().st_size)
        if len(self._file.infolist()) > MAXIMUM_MEMBERS:
            raise OpenbookError(f"{self.name}: over {MAXIMUM_MEMBERS:,} files inside; unpack it and name the folder")
        self.members = self._file.namelist()

    def __enter__(self) -> "Archive":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read(self, member: str) -> bytes:
        """The content of a member. The sizes in the archive's table may lie, so bytes are counted while reading.

        Raises:
            OpenbookError: the archive unpacks to more than it may.
        """
        with self._file.open(member) as file:
            content = file.read(self._left + 1)
        self._left -= len(content)
        if self._left < 0:
            raise OpenbookError(f"{self.name}: unpacks to far more than its size; likely a zip bomb, so leave it out")
        return content


def parse_xml(
    name: str,
    content: bytes,
    start: Callable[[str, dict[str, str]], None],
    end: Callable[[str], None] = lambda tag: None,
    text: Callable[[str], None] = lambda characters: None,
) -> None:
    """Call back for each start, end and text of an XML document; tags and attributes have no namespaces.

    Args:
        name: of the book and its member, for messages.
        content: the document.
        start: is given the tag and the attributes.
        end: is given the tag.
        text: is given characters, in pieces.

    Raises:
        OpenbookError: the document declares entities, or is too deep or too large.
        expat.ExpatError: it is not well-formed.
    """
    elements = depth = 0

    def refuse_entity(entity: str, *_: object) -> None:
        raise OpenbookError(f"{name} declares the XML entity {printable(entity)}; not a sane book")

    def on_start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal elements, depth
        elements, depth = elements + 1, depth + 1
        if depth > MAXIMUM_DEPTH or elements > MAXIMUM_ELEMENTS:
            much = f"{MAXIMUM_DEPTH} elements deep" if depth > MAXIMUM_DEPTH else f"{MAXIMUM_ELEMENTS:,} elements"
            raise OpenbookError(f"{name} has over {much}; not a sane book, so leave it out")
        start(tag.rpartition(" ")[2], {key.rpartition(" ")[2]: value for key, value in attributes.items()})

    def on_end(tag: str) -> None:
        nonlocal depth
        depth -= 1
        end(tag.rpartition(" ")[2])

    parser = expat.ParserCreate(namespace_separator=" ")
    parser.UseForeignDTD(True)  # entities of HTML, which no declaration explains, are left out and do no harm
    parser.EntityDeclHandler = refuse_entity
    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = on_start, on_end, text
    for first in range(0, len(content), XML_BLOCK):
        parser.Parse(content[first : first + XML_BLOCK], False)
        if first + XML_BLOCK - parser.CurrentByteIndex > MAXIMUM_TAG:
            raise OpenbookError(f"{name} has a tag of over {MAXIMUM_TAG >> 20} MB; not a sane book, so leave it out")
    parser.Parse(b"", True)


class OutOfTime(BaseException):
    """Raised in a reader that takes too long; no `except Exception` of a parser stops it."""


class OutOfMemory(BaseException):
    """Raised in a reader that takes too much memory."""


Chunk = TypeVar("Chunk")


def limit_time(name: str, size: int, chunks: Iterator[Chunk], factor: float = 1) -> Iterator[Chunk]:
    """The same chunks; to read them may take a minute of the processor, times `factor`, and longer for large files.

    Raises:
        OpenbookError: it takes longer, or (on Linux) makes this process grow by over two gigabytes.
    """
    limit = factor * (SECONDS + SECONDS_PER_MEGABYTE * size / 1e6)
    watch = _Watch(limit)
    try:
        while True:
            with watch.running():
                chunk = next(chunks, None)
            if chunk is None:
                return
            yield chunk
    except OutOfTime:
        raise OpenbookError(
            f"{name}: not read within {limit:.0f} seconds; convert it to txt, or leave it out"
        ) from None
    except OutOfMemory:
        raise OpenbookError(
            f"{name}: takes over {MAXIMUM_MEMORY >> 30} GB of memory to read; convert it to txt, or leave it out"
        ) from None
    finally:
        watch.end()


class _Watch:
    """Interrupts the thread that is running when it has used its time or memory, whichever thread that is."""

    def __init__(self, seconds: float) -> None:
        self._left, self._most = seconds, _memory() + MAXIMUM_MEMORY
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._thread: int | None = None
        self._interrupted = False
        self._began = 0.0
        self._clock: Callable[[], float] = time.monotonic
        threading.Thread(target=self._watch, daemon=True).start()

    @contextmanager
    def running(self) -> Iterator[None]:
        """What is done inside counts. Raises OutOfTime where it takes longer than is left."""
        clock = _clock_of_this_thread()
        with self._lock:
            self._thread, self._clock, self._began = threading.get_ident(), clock, clock()
        try:
            yield
        finally:
            with self._lock:
                thread, self._thread = self._thread, None
                self._left -= clock() - self._began
                if self._interrupted:
                    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread or 0), None)
        if self._left <= 0:
            raise OutOfTime

    def end(self) -> None:
        """Stop watching."""
        self._ended.set()

    def _watch(self) -> None:
        while not self._ended.wait(min(0.5, max(0.01, self._left))):
            with self._lock:
                if self._thread is None:
                    continue
                late = self._clock() - self._began > self._left
                if late or _memory() > self._most:
                    self._interrupted = True
                    error = ctypes.py_object(OutOfTime if late else OutOfMemory)
                    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._thread), error)
                    return


def _memory() -> int:
    """Bytes of memory that this process holds; 0 where the system does not say."""
    try:
        with Path("/proc/self/statm").open() as file:
            return int(file.read().split()[1]) * mmap.PAGESIZE
    except OSError:
        return 0


def _clock_of_this_thread() -> Callable[[], float]:
    """The time that the calling thread uses, readable from any thread; where the system has none, the time of day."""
    if not hasattr(time, "pthread_getcpuclockid"):
        return time.monotonic
    return partial(time.clock_gettime, time.pthread_getcpuclockid(threading.get_ident()))
