"""A client that takes little of the machine that it measures: HTTP over plain sockets."""

import asyncio
import json
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Address:
    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> "Address":
        host, _, port = url.removeprefix("http://").rstrip("/").partition(":")
        return cls(host, int(port or 80))


@dataclass
class Answer:
    """A status (0: no answer), the body or the number of events, and the seconds to the first of them with text."""

    status: int = 0
    body: bytes = b""
    pieces: int = 0
    first: float = 0.0


async def _send(address: Address, method: str, path: str, content: bytes) -> Any:
    reader, writer = await asyncio.open_connection(address.host, address.port)
    head = (
        f"{method} {path} HTTP/1.1\r\nhost: {address.host}\r\nconnection: close\r\ncontent-type: application/json\r\n"
    )
    writer.write(f"{head}content-length: {len(content)}\r\n\r\n".encode() + content)
    await writer.drain()
    return reader, writer


async def ask(address: Address, method: str, path: str, content: bytes = b"") -> Answer:
    """A whole answer."""
    try:
        reader, writer = await _send(address, method, path, content)
        answer = await reader.read()
        writer.close()
    except OSError:
        return Answer()
    head, _, body = answer.partition(b"\r\n\r\n")
    return Answer(int(head.split(None, 2)[1]) if head else 0, body)


async def stream(address: Address, path: str, body: dict[str, Any], pieces: int | None = None) -> Answer:
    """The events of a stream that carry text; with `pieces`, the client is gone after so many."""
    start, answer = time.perf_counter(), Answer()
    try:
        reader, writer = await _send(address, "POST", path, json.dumps(body).encode())
        answer.status = int((await reader.readline()).split()[1])
        while pieces is None or answer.pieces < pieces:
            line = await reader.readline()
            if not line:
                break
            if line.startswith(b"data: {") and b'"content":"' in line and b'"role"' not in line:
                answer.first = answer.first or time.perf_counter() - start
                answer.pieces += 1
        writer.transport.abort()
    except (OSError, IndexError):
        answer.status = answer.status or 0
    return answer


async def metric(address: Address, name: str) -> float:
    """The sum of a gauge over all models."""
    text = (await ask(address, "GET", "/metrics")).body.decode()
    return sum(float(value) for value in re.findall(rf"^{name}\{{.*\}} (\S+)$", text, re.MULTILINE))


def resident_bytes(process: int) -> int:
    """Memory of a process."""
    found = re.search(r"^VmRSS:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text(), re.MULTILINE)
    return 0 if found is None else int(found[1]) * 1024
