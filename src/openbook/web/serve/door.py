"""The door of the server: who may come in, from where, and with how much.

A server on 127.0.0.1 is open to every page in the same browser. Their requests have another Origin, and a name of
theirs that leads to 127.0.0.1 shows in the Host; both are refused, unless `--allow-origin` names them.
"""

import asyncio
import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from openbook.web.serve.bodies import check_json, read_body
from openbook.web.serve.errors import ApiError, ClientGoneError
from openbook.web.serve.shape import Shapes

LOOPBACK = ("127.0.0.1", "localhost", "::1")
BODY_SECONDS = 60.0
"""For all of a body to arrive."""
SMALL = 2**16
"""Bytes of a body that are checked at once; more are checked on a thread."""
CORS_HEADERS = {
    "access-control-allow-methods": "GET, POST, OPTIONS",
    "access-control-allow-headers": "*, authorization",
    "access-control-max-age": "600",
}


@dataclass(frozen=True, kw_only=True)
class DoorSettings:
    """Whom the door lets in.

    Attributes:
        keys: any of which opens; none: it stands open.
        hosts: names by which clients may call the server; None: any.
        origins: of pages elsewhere that may use the server, such as `http://localhost:3000`; `*` is every page.
    """

    keys: Sequence[str] = ()
    hosts: Sequence[str] | None = LOOPBACK
    origins: Sequence[str] = ()


class Door:
    """Lets requests through to an application, with their bodies read and checked."""

    def __init__(self, app: ASGIApp, settings: DoorSettings, shapes: Shapes) -> None:
        self._app, self._settings, self._shapes = app, settings, shapes
        self._keys = [_digest(key) for key in settings.keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it.

        Raises:
            ApiError: the request is refused.
        """
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        headers = Headers(scope=scope)
        self._check_host(headers)
        origin = self._allowed_origin(headers)
        if origin is not None:
            send = _with_cors(send, origin)
            if scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
                await Response(status_code=204, headers=CORS_HEADERS)(scope, receive, send)
                return
        given = _keys_of(scope, headers)
        may_be_in_body = scope["method"] == "POST" and self._shapes.of(scope["path"]).key_in_body
        if not may_be_in_body:
            self._check_key(given)
        if scope["method"] in ("POST", "PUT", "PATCH"):
            content = await _body(receive)
            if may_be_in_body:
                self._check_key([*given, *_keys_in(content)])
            _name_json(scope, content)
            receive = _replay(content, receive)
        await self._app(scope, receive, send)

    def _check_host(self, headers: Headers) -> None:
        hosts, given = self._settings.hosts, headers.get("host", "")
        if hosts is not None and _host_name(given) not in hosts:
            raise ApiError(403, f"this server answers only as {', '.join(hosts)}; see --host")

    def _allowed_origin(self, headers: Headers) -> str | None:
        """The Origin that gets headers of CORS; None for requests that need none."""
        origin = headers.get("origin")
        if origin is None or origin in (f"http://{headers.get('host')}", f"https://{headers.get('host')}"):
            return None
        if origin in self._settings.origins or "*" in self._settings.origins:
            return origin
        raise ApiError(
            403, "the request comes from a page elsewhere; start the server with --allow-origin to let it in"
        )

    def _check_key(self, given: Sequence[str]) -> None:
        """Every key is compared in full, whether one fits or not."""
        if not self._keys:
            return
        fits = [hmac.compare_digest(_digest(each), key) for each in given or [""] for key in self._keys]
        if not any(fits):
            what = "the API key is wrong" if given else "this server wants an API key"
            raise ApiError(401, f"{what}; send it as Authorization: Bearer KEY", code="invalid_api_key")


def client_key(scope: Scope) -> str:
    """Tells clients apart for fairness: by their keys and addresses."""
    headers = Headers(scope=scope)
    keys = "\n".join(_keys_of(scope, headers))
    address = scope["client"][0] if scope.get("client") else ""
    return hashlib.sha256(f"{keys}\n{address}".encode("utf-8", "replace")).hexdigest()[:16]


def _keys_of(scope: Scope, headers: Headers) -> list[str]:
    """All that a request gives for a key."""
    found = [] if "x-api-key" not in headers else [headers["x-api-key"]]
    scheme, _, value = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        found.append(value.strip())
    elif scheme.lower() == "basic":
        try:
            found.append(base64.b64decode(value, validate=True).decode().partition(":")[2])
        except (binascii.Error, UnicodeDecodeError):
            found.append("")
    if b"api_key=" in scope["query_string"]:
        found += parse_qs(scope["query_string"].decode("latin-1")).get("api_key", [])
    return found[:4]


def _keys_in(content: bytes) -> list[str]:
    """The field `api_key` of a body, JSON or a form."""
    try:
        fields = json.loads(content)
        key = fields.get("api_key") if isinstance(fields, dict) else None
    except (ValueError, RecursionError):
        key = next(iter(parse_qs(content[:SMALL].decode("latin-1")).get("api_key", [])), None)
    return [key] if isinstance(key, str) else []


async def _body(receive: Receive) -> bytes:
    """The body, checked.

    Raises:
        ApiError: it is too large, too slow or too deep.
        ClientGoneError: the client left before it was complete.
    """

    async def chunks() -> AsyncIterator[bytes]:
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientGoneError
            yield message.get("body", b"")
            if not message.get("more_body", False):
                return

    try:
        async with asyncio.timeout(BODY_SECONDS):
            content = await read_body(chunks())
    except TimeoutError:
        raise ApiError(408, f"the request did not arrive within {BODY_SECONDS:g} seconds") from None
    if len(content) <= SMALL:
        check_json(content)
    else:
        await asyncio.to_thread(check_json, content)
    return content


def _name_json(scope: Scope, content: bytes) -> None:
    """What looks like JSON is JSON, also where a client such as curl names it a form."""
    if content.lstrip()[:1] in (b"{", b"["):
        others = [pair for pair in scope["headers"] if pair[0] != b"content-type"]
        scope["headers"] = [*others, (b"content-type", b"application/json")]


def _replay(content: bytes, receive: Receive) -> Receive:
    """Gives the body once, then what comes after it: that the client is gone."""
    waiting: list[Message] = [{"type": "http.request", "body": content, "more_body": False}]

    async def again() -> Message:
        return waiting.pop() if waiting else await receive()

    return again


def _with_cors(send: Send, origin: str) -> Send:
    async def with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers["access-control-allow-origin"] = origin
            headers["access-control-expose-headers"] = "x-request-id, retry-after"
            headers.add_vary_header("origin")
        await send(message)

    return with_headers


def _host_name(host: str) -> str:
    """The name in `localhost:8000` or `[::1]:8000`."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _digest(key: str) -> bytes:
    """Equal lengths, so that comparing tells nothing about them."""
    return hashlib.sha256(key.encode("utf-8", "replace")).digest()
