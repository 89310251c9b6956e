"""Answers: whole ones and streams. A client that goes away ends the work for it at once."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from openbook.web.serve.errors import ApiError, ClientGoneError
from openbook.web.serve.generation import Generation, Result
from openbook.web.serve.json_bytes import to_json
from openbook.web.serve.logs import log
from openbook.web.serve.problems import problem_of
from openbook.web.serve.service import service_of
from openbook.web.serve.shape import Shape

PING_SECONDS = 10.0
STREAM_HEADERS = {"cache-control": "no-cache", "x-accel-buffering": "no"}
"""Of a stream: nothing between us and the client keeps it or waits for more."""


def json_response(value: Any, status: int = 200) -> Response:
    """`value` as JSON."""
    return Response(to_json(value), status, media_type="application/json")


async def whole(request: Request, generation: Generation, render: Callable[[Result], Any]) -> Response:
    """The whole answer as JSON.

    Raises:
        ApiError: it failed, or took too long.
        ClientGoneError: the client left meanwhile.
    """
    work = asyncio.create_task(generation.whole())
    gone = asyncio.create_task(_disconnected(request.receive))
    try:
        timeout = service_of(request).settings.timeout
        await asyncio.wait((work, gone), timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            return json_response(render(work.result()))
        if gone.done():
            raise ClientGoneError
        raise _too_slow(timeout)
    finally:
        work.cancel()
        gone.cancel()
        generation.close()


def stream(
    request: Request,
    generation: Generation,
    chunks: AsyncIterator[bytes],
    *,
    media_type: str = "text/event-stream",
) -> Response:
    """An answer in pieces, as `chunks` writes them; pings and errors come in the shape of the path.

    Raises:
        ApiError: what was asked for does not come in pieces.
    """
    if not generation.streams:
        generation.close()
        raise ApiError(
            400, "stream: a beam search, or best_of, has no answer before its end; leave it out", param="stream"
        )
    shape: Shape = request.app.state.shapes.of(request.url.path)
    return _Stream(generation, chunks, shape, media_type, service_of(request).settings.timeout)


class _Stream(Response):
    """Sends chunks as they come, pings while there are none, and ends all when the client leaves."""

    def __init__(
        self, generation: Generation, chunks: AsyncIterator[bytes], shape: Shape, media_type: str, timeout: float
    ) -> None:
        super().__init__(None, headers=STREAM_HEADERS, media_type=media_type)
        del self.headers["content-length"]
        self._generation, self._chunks, self._shape, self._timeout = generation, chunks, shape, timeout
        self._sent = time.monotonic()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        tasks: list[asyncio.Task[None]] = []
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            writing = asyncio.create_task(self._write(scope["state"]["id"], send))
            gone = asyncio.create_task(_disconnected(receive))
            tasks += [writing, gone]
            if self._shape.ping:
                tasks.append(asyncio.create_task(self._ping(send)))
            # A client that reads nothing holds up the writing; then there is nobody to tell that it was too slow.
            await asyncio.wait((writing, gone), timeout=2 * self._timeout, return_when=asyncio.FIRST_COMPLETED)
            if not writing.done():
                raise ClientGoneError
            writing.result()
        finally:
            for task in tasks:
                task.cancel()
            self._generation.close()

    async def _write(self, request_id: str, send: Send) -> None:
        try:
            async with asyncio.timeout(self._timeout):
                async for chunk in self._chunks:
                    await self._send(chunk, send)
        except Exception as error:
            problem = _too_slow(self._timeout) if isinstance(error, TimeoutError) else problem_of(error, request_id)
            if problem.status == 500:
                log("error", level=logging.ERROR, error=error, id=request_id)
            await self._send(self._shape.error_event(problem, request_id), send)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _ping(self, send: Send) -> None:
        while True:
            silent = time.monotonic() - self._sent
            if silent >= PING_SECONDS:
                await self._send(self._shape.ping, send)
                silent = 0.0
            await asyncio.sleep(PING_SECONDS - silent)

    async def _send(self, chunk: bytes, send: Send) -> None:
        self._sent = time.monotonic()
        await send({"type": "http.response.body", "body": chunk, "more_body": True})


async def _disconnected(receive: Receive) -> None:
    """Returns when the client is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _too_slow(timeout: float) -> ApiError:
    return ApiError(
        504, f"the answer took more than {timeout:g} seconds; ask for less, or see --timeout", code="timeout"
    )
