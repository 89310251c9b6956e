"""Around everything else: each request gets an id, is counted and logged, and never ends without an answer."""

import logging
import secrets
import time
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from openbook.web.serve.errors import ClientGoneError
from openbook.web.serve.logs import log
from openbook.web.serve.metrics import Metrics
from openbook.web.serve.problems import problem_of, problem_response
from openbook.web.serve.shape import Shapes

GONE = 499
"""The status in the log of a request whose client went away."""
QUIET = frozenset({"/health", "/ready", "/metrics"})
"""Routes that are asked every few seconds, and logged only when they fail."""


class Observer:
    """Answers what the application raises, in the shape of the path; logs each request in one line."""

    def __init__(self, app: ASGIApp, shapes: Shapes, metrics: Metrics) -> None:
        self._app, self._shapes, self._metrics = app, shapes, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 0
        request_id = f"req_{secrets.token_hex(12)}"
        notes: dict[str, Any] = {}
        scope.setdefault("state", {}).update(id=request_id, notes=notes)

        async def with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message).update({"x-request-id": request_id, "request-id": request_id})
            await send(message)

        try:
            try:
                await self._app(scope, receive, with_id)
            except ClientGoneError:
                status = GONE
            except Exception as error:
                problem = problem_of(error, request_id)
                notes["problem"] = problem.message if problem.status >= 500 else problem.code or problem.param
                if problem.status == 500:
                    log("error", level=logging.ERROR, error=error, id=request_id)
                if status:
                    raise  # the answer has begun: the connection is closed
                await problem_response(problem, request_id, self._shapes.of(scope["path"]))(scope, receive, with_id)
        finally:
            self._end(scope, status or GONE, time.perf_counter() - started, request_id, notes)

    def _end(self, scope: Scope, status: int, seconds: float, request_id: str, notes: dict[str, Any]) -> None:
        route = getattr(scope.get("route"), "path", None) or scope.get("root_path") or "other"
        self._metrics.count(route, status, seconds)
        if route in QUIET and status < 400:
            return
        log(
            "request",
            id=request_id,
            method=scope["method"],
            path=scope["path"][:200],
            status=GONE if notes.pop("gone", False) else status,
            seconds=round(seconds, 4),
            **notes,
        )
