"""The pages of `openbook serve`, with the headers that keep others from framing them, and them from loading theirs."""

from pathlib import Path

from starlette.responses import RedirectResponse
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from openbook.web.guard import SecurityHeaders

_WEB = Path(__file__).parent


def page_routes() -> list[BaseRoute]:
    """The page to talk, to which `/` leads, and below `/page/` what it shares with the page of an explanation."""
    return [Route("/", lambda request: RedirectResponse("chat/")), _files("chat"), _files("page")]


def _files(folder: str) -> Mount:
    return Mount(f"/{folder}", SecurityHeaders(StaticFiles(directory=_WEB / folder, html=True)), name=folder)
