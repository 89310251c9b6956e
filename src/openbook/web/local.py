"""Serve an application on this machine alone, and open the browser."""

import os
import secrets
import sys
import threading
import webbrowser
from collections.abc import Callable
from contextlib import suppress

import uvicorn
from starlette.types import ASGIApp

from openbook.web.guard import Guard, SecurityHeaders
from openbook.web.sockets import listen

ADDRESS = "127.0.0.1"


def serve(app: ASGIApp, port: int, browser: bool, say: Callable[[str], None]) -> None:
    """Serve until Ctrl-C.

    Args:
        app: the application.
        port: 0 takes a free one.
        browser: whether to open the browser.
        say: prints a line.

    Raises:
        OpenbookError: the port is taken.
    """
    token = secrets.token_urlsafe(24)
    with listen(ADDRESS, port) as listening:
        port = listening.getsockname()[1]
        address = f"http://{ADDRESS}:{port}/?token={token}"
        guarded = SecurityHeaders(Guard(app, token, {f"{ADDRESS}:{port}", f"localhost:{port}"}))
        config = uvicorn.Config(guarded, log_level="error", access_log=False, server_header=False, lifespan="off")
        server = uvicorn.Server(config)
        say(f"The page is at {address}")
        say("Ctrl-C ends it.")
        if browser:
            threading.Thread(target=_open_browser, args=(address, say), daemon=True).start()
        with suppress(KeyboardInterrupt):
            server.run(sockets=[listening])


def _open_browser(address: str, say: Callable[[str], None]) -> None:
    if not _has_screen() or not webbrowser.open(address):
        say("No browser was found here: open the address yourself.")


def _has_screen() -> bool:
    """Whether a graphical browser can show up; without a screen only text browsers would, in the terminal itself."""
    if sys.platform in ("win32", "darwin"):
        return True
    return any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))
