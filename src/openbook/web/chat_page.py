"""The page to talk, as routes of a server: static files that ask the server's own interfaces for everything."""

from pathlib import Path

from starlette.routing import BaseRoute, Mount
from starlette.staticfiles import StaticFiles

_WEB = Path(__file__).parent


def mount() -> list[BaseRoute]:
    """`/chat/` is the page; `/page/` are the modules and styles that it shares with the explanation's page.

    Send them with `guard.HEADERS`.
    """
    return [
        Mount("/chat", StaticFiles(directory=_WEB / "chat", html=True), name="chat"),
        Mount("/page", StaticFiles(directory=_WEB / "page"), name="page"),
    ]
