"""The server of `openbook serve`: all shapes of the API and the pages in one application, behind one door."""

import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, NoReturn

import uvicorn
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.routing import BaseRoute

from openbook import __version__
from openbook.web.api import explain, libretranslate, operations, tokenize
from openbook.web.api.anthropic.routes import SHAPE as ANTHROPIC
from openbook.web.api.ollama.routes import SHAPE as OLLAMA
from openbook.web.api.openai.shape import SHAPE as OPENAI
from openbook.web.api.responses.routes import SHAPE as RESPONSES
from openbook.web.serve.door import Door, DoorSettings
from openbook.web.serve.observer import Observer
from openbook.web.serve.service import Service
from openbook.web.serve.shape import Shapes

SHAPES = Shapes((OPENAI, RESPONSES, ANTHROPIC, OLLAMA, libretranslate.SHAPE, explain.SHAPE, tokenize.SHAPE))
"""The first one tells the errors of paths that belong to none."""
ERRORS = {
    400: "The request is wrong; the message names the field.",
    401: "No key, or a wrong one.",
    403: "The request comes from a page elsewhere, or calls the server by another name.",
    404: "There is no such model or address.",
    405: "The address does not take this method.",
    408: "The request did not arrive in time.",
    413: "The request is too large.",
    429: "The queue is full; `Retry-After` says when to try again.",
    500: "A fault of the server, with its id in the log.",
    503: "The model is being loaded.",
    504: "The answer took too long.",
}


def create_app(service: Service, door: DoorSettings, pages: Sequence[BaseRoute] = ()) -> FastAPI:
    """The application.

    Args:
        service: answers requests.
        door: whom to let in.
        pages: further routes, behind the same door.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service.start()
        try:
            yield
        finally:
            service.stop()

    app = FastAPI(title="openbook", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.service, app.state.shapes = service, SHAPES
    responses: dict[int | str, dict[str, Any]] = {
        status: {"description": sentence, "content": {"application/json": {}}} for status, sentence in ERRORS.items()
    }
    app.include_router(operations.router, responses=responses)
    for shape in SHAPES.all:
        app.include_router(shape.router, responses=responses)
    app.router.routes.extend(pages)
    app.openapi = _described(app.openapi)  # type: ignore[method-assign]
    for kind in (HTTPException, RequestValidationError):
        app.add_exception_handler(kind, _pass_on)
    app.add_middleware(Door, settings=door, shapes=SHAPES)
    app.add_middleware(Observer, shapes=SHAPES, metrics=service.metrics)
    return app


def run(app: FastAPI, listening: socket.socket, timeout: float) -> None:
    """Serve until Ctrl-C or SIGTERM; answers under way then get `timeout` seconds to end."""
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        ws="none",
        timeout_graceful_shutdown=max(1, round(timeout)),
    )
    with suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[listening])


def _described(original: Callable[[], dict[str, Any]]) -> Callable[[], dict[str, Any]]:
    """The description without the answer 422, which this server never gives."""

    def openapi() -> dict[str, Any]:
        described = original()
        for path in described["paths"].values():
            for operation in path.values():
                operation["responses"].pop("422", None)
        return described

    return openapi


async def _pass_on(request: Request, error: Exception) -> NoReturn:
    """Errors of the framework go the way of all others, to the observer."""
    raise error
