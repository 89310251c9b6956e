"""Who may open a local page: the token, the Host and the Origin decide, and every answer has its headers."""

import asyncio

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from openbook.web.guard import Guard, SecurityHeaders

HOST = "127.0.0.1:8000"
INSIDE = Starlette(
    routes=[Route("/", lambda _: PlainTextResponse("inside")), Route("/x", lambda _: PlainTextResponse("x"))]
)


def ask(app, path="/", query="", method="GET", body=b"", **headers):
    """Status, headers and body of one request."""
    sent, asked = [], [{"type": "http.request", "body": body, "more_body": False}]
    scope = {"type": "http", "method": method, "path": path, "query_string": query.encode(), "http_version": "1.1"}
    scope |= {"headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]}
    scope |= {"scheme": "http", "server": ("127.0.0.1", 8000), "root_path": "", "raw_path": path.encode()}

    async def receive():
        if not asked:
            await asyncio.Event().wait()  # nobody disconnects
        return asked.pop()

    async def send(message):
        sent.append(message)

    asyncio.run(asyncio.wait_for(app(scope, receive, send), 60))
    head = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], head, b"".join(message.get("body", b"") for message in sent[1:])


@pytest.fixture
def app():
    return SecurityHeaders(Guard(INSIDE, "secret", {HOST, "localhost:8000"}))


@pytest.fixture
def cookie(app):
    status, head, _ = ask(app, query="token=secret", host=HOST)
    assert (status, head["location"]) == (303, "./")  # the token leaves the address
    given = head["set-cookie"]
    assert "HttpOnly" in given and "SameSite=strict" in given
    return given.partition(";")[0]


def test_the_token_opens_the_page_and_its_files(app, cookie):
    assert ask(app, host=HOST, cookie=cookie)[2] == b"inside"
    assert ask(app, "/x", host="localhost:8000", cookie=cookie, origin="http://localhost:8000")[2] == b"x"


@pytest.mark.parametrize(
    "request_",
    [
        {"host": HOST},
        {"host": HOST, "query": "token=wrong"},
        {"host": HOST, "query": "token="},
        {"host": HOST, "query": "token=s%E9cret"},
        {"host": HOST, "path": "/x", "query": "token=secret"},
        {"host": HOST, "query": "token=secret", "method": "POST"},
        {"host": "evil.example", "query": "token=secret"},
        {"query": "token=secret"},
        {"host": HOST, "query": "token=secret", "origin": "http://evil.example"},
        {"host": HOST, "query": "token=secret", "origin": "null"},
    ],
)
def test_others_get_a_403(app, request_):
    status, head, body = ask(app, **request_)
    assert status == 403 and body.startswith(b"403: ") and "set-cookie" not in head


@pytest.mark.parametrize("headers", [{"host": "evil.example"}, {"host": HOST, "origin": "http://evil.example"}])
def test_a_cookie_alone_is_not_enough(app, cookie, headers):
    assert ask(app, cookie=cookie, **headers)[0] == 403


def test_each_server_has_its_own_cookie(app, cookie):
    other = SecurityHeaders(Guard(INSIDE, "another", {HOST}))
    assert ask(other, host=HOST, cookie=cookie)[0] == 403


def test_every_answer_forbids_other_sources(app, cookie):
    for answer in (ask(app, host=HOST), ask(app, host=HOST, cookie=cookie), ask(app, query="token=secret", host=HOST)):
        policy = answer[1]["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'") and "unsafe" not in policy
        assert answer[1]["x-content-type-options"] == "nosniff" and answer[1]["referrer-policy"] == "no-referrer"
