"""Who may open a local page: only a browser that knows the token, and only under the server's own address.

Other pages in the same browser can send requests to 127.0.0.1 too. They know no token, their Origin is another one, and
a name of theirs that leads to 127.0.0.1 shows in the Host.
"""

import secrets
from collections.abc import Collection
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self' data: blob:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
"""Of every answer: nothing from elsewhere is loaded, and nobody else frames, reads or keeps the page."""


class SecurityHeaders:
    """Adds `HEADERS` to every answer of an application."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        await self._app(scope, receive, with_headers if scope["type"] == "http" else send)


class Guard:
    """Lets through what knows the token and comes from the server's own page; everything else gets a 403.

    The address with `?token=…` sets a cookie and leads to the address without it, so the token stays out of the
    browser's history.
    """

    def __init__(self, app: ASGIApp, token: str, hosts: Collection[str]) -> None:
        """`hosts`: as a browser sends them, such as "127.0.0.1:8000"."""
        self._app, self._token, self._hosts = app, token, frozenset(hosts)
        self._cookie = f"openbook_{secrets.token_hex(4)}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
        else:
            refusal = self._answer(scope)
            await (self._app if refusal is None else refusal)(scope, receive, send)

    def _answer(self, scope: Scope) -> Response | None:
        """A refusal, or the redirect after the token; None lets the request through."""
        headers = Headers(scope=scope)
        if headers.get("host") not in self._hosts:
            return _refused("this server answers only under the address that the command printed")
        origin = headers.get("origin")
        if origin is not None and origin not in {f"http://{host}" for host in self._hosts}:
            return _refused("the request comes from another page")
        cookies = cookie_parser(headers.get("cookie", ""))
        if self._is_token(cookies.get(self._cookie, "")):
            return None
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        if scope["path"] != "/" or scope["method"] not in ("GET", "HEAD") or not self._is_token(given):
            return _refused("open the address that the command printed; it ends with a token")
        redirect = RedirectResponse("./", status_code=303)
        redirect.set_cookie(self._cookie, self._token, httponly=True, samesite="strict")
        return redirect

    def _is_token(self, given: str) -> bool:
        return secrets.compare_digest(given.encode(), self._token.encode())


def _refused(reason: str) -> Response:
    return PlainTextResponse(f"403: {reason}\n", status_code=403)
