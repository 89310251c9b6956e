"""`openbook serve`: who may come in and with how much, models that come and go, how it ends."""

import asyncio
import base64
import http.client
import json
import logging
import signal
import subprocess
import sys

import pytest
from starlette.applications import Starlette
from starlette.routing import Route
from test_guard import ask as ask_app
from typer.testing import CliRunner

from live_server import TEMPLATE, serving, write_language_model
from openbook.cli.main import app
from openbook.cli.usage_errors import option_name
from openbook.errors import OpenbookError, SettingError
from openbook.web.serve.errors import ClientGoneError
from openbook.web.serve.observer import Observer
from openbook.web.serve.responses import _Stream
from openbook.web.server import SHAPES

KEY = "a secret key"
ORIGIN = "http://localhost:3000"
LONG = {"prompt": "It is", "max_tokens": 60_000, "min_tokens": 60_000, "seed": 1, "temperature": 1.0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("guarded")


@pytest.fixture(scope="module")
def guarded(folder):
    """A server with a key and little room, for two models of which one fits in memory."""
    models = write_language_model(folder / "one.openbook", TEMPLATE), write_language_model(folder / "two.openbook")
    options = (
        "--max-batch-tokens",
        "8000000",
        "--api-key",
        KEY,
        "--allow-origin",
        ORIGIN,
        "--max-queue",
        "1",
        "--memory",
        "1KB",
        "--log-prompts",
    )
    with serving(folder, *models, options=options) as server:
        yield server


@pytest.mark.parametrize("path", ["/health", "/ready", "/metrics", "/openapi.json", "/v1/models", "/", "/nowhere"])
def test_every_route_wants_the_key(guarded, path):
    for wrong in ({}, {"authorization": "Bearer "}, {"authorization": "Bearer wrong"}, {"x-api-key": KEY + "x"}):
        given = {"authorization": ""} | wrong
        status, headers, body = guarded.ask(path, headers=given)
        assert status == 401 and headers["www-authenticate"].startswith("Basic")
        assert body["error"]["code"] == "invalid_api_key" and KEY not in json.dumps(body)
    basic = base64.b64encode(f"me:{KEY}".encode()).decode()
    for right in ({"authorization": f"Bearer {KEY}"}, {"x-api-key": KEY}, {"authorization": f"Basic {basic}"}):
        assert guarded.ask(path, headers={"authorization": ""} | right)[0] in (200, 404)


def test_only_pages_that_may_get_in(guarded, live):
    assert guarded.ask("/v1/models", headers={"origin": "http://evil.example"})[0] == 403
    assert guarded.ask("/v1/models", headers={"origin": "null"})[0] == 403
    assert "access-control-allow-origin" not in guarded.ask("/v1/models")[1]
    status, headers, _ = guarded.ask("/v1/models", headers={"origin": ORIGIN})
    assert status == 200 and headers["access-control-allow-origin"] == ORIGIN and "origin" in headers["vary"].lower()
    preflight = {"origin": ORIGIN, "access-control-request-method": "POST", "authorization": ""}
    status, headers, _ = guarded.ask("/v1/completions", method="OPTIONS", headers=preflight)
    assert status == 204 and "POST" in headers["access-control-allow-methods"]
    assert live.ask("/v1/models", headers={"origin": live.url})[0] == 200
    assert live.ask("/v1/models", headers={"origin": ORIGIN})[0] == 403


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "", "[::"])
def test_it_answers_under_its_own_names_alone(live, host):
    address = live.url.removeprefix("http://")
    for name, expected in ((host, 403), ("localhost:1", 200), (address, 200)):
        connection = http.client.HTTPConnection(address)
        connection.putrequest("GET", "/health", skip_host=True)
        connection.putheader("host", name)
        connection.endheaders()
        assert connection.getresponse().status == expected
        connection.close()


def test_too_much_is_refused(live):
    asked = {"model": "plain", "prompt": "x" * 9_000_000}
    status, _, body = live.ask("/v1/completions", asked)
    assert status == 413 and body["error"]["type"] == "invalid_request_error"
    for content in (b'{"prompt":' + b"[" * 80 + b"]" * 80 + b"}", b'{"prompt": [' + b"1," * 600_000 + b"1]}"):
        status, _, body = live.ask("/v1/completions", content)
        assert status == 400 and "more than" in body["error"]["message"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"nonsense",
        b'{"prompt": "\\ud800"}',
        b'{"prompt": "x", "temperature": NaN}',
        b"\xff\xfe",
        b'{"a":' + b"9" * 9000 + b"}",
    ],
)
def test_what_is_no_request_is_told(live, content):
    status, headers, body = live.ask("/v1/completions", content)
    assert status == 400 and body["error"]["message"] and headers["x-request-id"].startswith("req_")


def test_a_body_is_json_whatever_it_is_called(live):
    asked = {"model": "plain", "prompt": "x", "max_tokens": 1}
    headers = {"content-type": "application/x-www-form-urlencoded"}
    assert live.ask("/v1/completions", asked, headers=headers)[0] == 200


def test_what_is_not_there(live):
    assert live.ask("/nowhere")[0] == 404
    assert live.ask("/v1/completions")[0] == 405
    status, _, body = live.ask("/v1/completions", {"model": "nobody", "prompt": "x"})
    assert status == 404 and body["error"]["code"] == "model_not_found" and "plain" in body["error"]["message"]


def test_it_says_how_it_is(live):
    assert live.ask("/health")[2] == {"status": "ok"}
    assert live.ask("/ready")[2]["models"] == ["chat", "plain", "translator"]
    live.ask("/v1/completions", {"model": "plain", "prompt": "x", "max_tokens": 1})
    text = live.ask("/metrics")[2].decode()
    assert 'openbook_http_requests_total{route="/v1/completions",status="200"}' in text
    assert live.gauge("openbook_model_loaded", "plain") == 1


def test_it_starts_without_pytorch():
    script = "import openbook.web.serving, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_the_page_to_talk_is_there(live):
    status, headers, body = live.ask("/")
    assert status == 200 and b"<html" in body and headers["content-security-policy"].startswith("default-src 'none'")
    assert live.ask("/page/dom.js")[1]["x-content-type-options"] == "nosniff"
    assert live.ask("/chat/nothing.js")[0] == live.ask("/chat/../server.py")[0] == 404


def test_a_full_queue_says_when_to_come_again(guarded):
    full = guarded.opened("/v1/completions", {"model": "one", "n": 64, **LONG})
    guarded.wait_until(lambda: guarded.gauge("openbook_rows_active", "one") == 64, "the rows do not start")
    waiting = guarded.opened("/v1/completions", {"model": "one", **LONG})
    guarded.wait_until(lambda: guarded.gauge("openbook_requests_queued", "one") == 1, "it does not wait")
    status, headers, body = guarded.ask("/v1/completions", {"model": "one", "prompt": "x"})
    assert status == 429 and int(headers["retry-after"]) >= 1 and body["error"]["type"] == "rate_limit_error"
    status, headers, body = guarded.ask("/v1/completions", {"model": "two", "prompt": "x", "max_tokens": 1})
    assert status == 503 and "retry-after" in headers  # the other model is at work, and there is room for one
    full.close()
    waiting.close()
    guarded.wait_until(lambda: guarded.gauge("openbook_requests_active", "one") == 0, "rows are not free")


def test_models_share_memory(guarded):
    for one, other in (("two", "one"), ("one", "two")):
        assert guarded.ask("/v1/completions", {"model": one, "prompt": "x", "max_tokens": 1})[0] == 200
        loaded = {model["id"]: model["openbook"]["loaded"] for model in guarded.ask("/v1/models")[2]["data"]}
        assert loaded == {one: True, other: False}


def test_a_file_that_changes_is_noticed(guarded, folder):
    asked = {"model": "two", "prompt": "It is", "max_tokens": 12}
    before = guarded.ask("/v1/completions", asked)[2]["choices"][0]["text"]
    write_language_model(folder / "new.openbook", seed=1).replace(folder / "two.openbook")
    after = guarded.ask("/v1/completions", asked)[2]["choices"][0]["text"]
    assert before != after
    good = (folder / "two.openbook").read_bytes()
    (folder / "bad.openbook").write_bytes(good[: len(good) // 2])
    (folder / "bad.openbook").replace(folder / "two.openbook")
    assert guarded.ask("/v1/completions", asked)[2]["choices"][0]["text"] == after
    events = [record["event"] for record in guarded.records()]
    assert any("its file changed" in event for event in events) and any("cannot be read" in event for event in events)
    (folder / "good.openbook").write_bytes(good)
    (folder / "good.openbook").replace(folder / "two.openbook")
    assert guarded.ask("/v1/completions", asked)[0] == 200


def test_prompts_are_in_the_log_only_if_that_is_asked_for(guarded, live):
    for server, model, expected in ((guarded, "one", True), (live, "plain", False)):
        asked = {"model": model, "prompt": "a very private prompt", "max_tokens": 1}
        request_id = server.ask("/v1/completions", asked)[1]["x-request-id"]
        record = server.record_of(request_id)
        assert (record["status"], record["model"], record["completion_tokens"]) == (200, model, 1)
        assert ("a very private prompt" in json.dumps(record)) == expected


class Vanishing:
    """Stands for a generation; says whether it was closed."""

    closed = False

    def close(self):
        self.closed = True


async def _streamed(chunks, gone=False):
    """What a stream sends, and whether its generation was closed."""
    sent, generation = [], Vanishing()

    async def receive():
        if not gone:
            await asyncio.sleep(3600)
        return {"type": "http.disconnect"}

    async def send(message):
        sent.append(message.get("body", b""))
        await asyncio.sleep(0)

    answer = _Stream(generation, chunks, SHAPES.all[0], "text/event-stream", 60.0)
    try:
        await answer({"type": "http", "state": {"id": "req_1"}}, receive, send)
    except ClientGoneError:
        sent.append("gone")
    return sent, generation.closed


def test_a_fault_in_a_stream_is_an_event_with_an_id(caplog):
    async def chunks():
        yield b"data: 1\n\n"
        raise RuntimeError("the secret reason")

    logging.getLogger("openbook.serve").propagate = True
    with caplog.at_level(logging.ERROR, "openbook.serve"):
        sent, closed = asyncio.run(_streamed(chunks()))
    assert closed and sent[:2] == [b"", b"data: 1\n\n"] and sent[2].endswith(b"data: [DONE]\n\n") and sent[3] == b""
    assert b"req_1" in sent[2] and b"secret" not in sent[2] and caplog.records[0].fields["id"] == "req_1"


def test_a_silent_stream_is_kept_open_and_ends_with_its_client(monkeypatch):
    monkeypatch.setattr("openbook.web.serve.responses.PING_SECONDS", 0.001)

    async def silent():
        while silent.waits:
            silent.waits -= 1
            await asyncio.sleep(0.002)
        yield b"data: 1\n\n"

    silent.waits = 20
    sent, closed = asyncio.run(_streamed(silent()))
    assert closed and b": ping\n\n" in sent and sent[-2:] == [b"data: 1\n\n", b""]
    silent.waits = 10**6
    sent, closed = asyncio.run(_streamed(silent(), gone=True))
    assert closed and sent[-1] == "gone"


def test_a_fault_is_a_500_with_an_id_that_the_log_knows(caplog):
    class Nothing:
        def count(self, *arguments):
            pass

    def fail(request):
        raise RuntimeError("the secret reason")

    observed = Observer(Starlette(routes=[Route("/v1/broken", fail)]).router, SHAPES, Nothing())
    logging.getLogger("openbook.serve").propagate = True
    with caplog.at_level(logging.ERROR, "openbook.serve"):
        status, headers, body = ask_app(observed, "/v1/broken")
    error = json.loads(body)["error"]
    assert status == 500 and headers["x-request-id"] in error["message"] and "secret" not in error["message"]
    (record,) = caplog.records
    assert record.fields["id"] == headers["x-request-id"] and "the secret reason" in str(record.exc_info[1])


@pytest.mark.parametrize(("tokens", "timeout", "whole"), [(3000, "60", True), (60_000, "1", False)])
def test_it_ends_when_it_is_told_to(folder, tokens, timeout, whole):
    model = write_language_model(folder / "ends.openbook")
    with serving(folder, model, options=("--timeout", timeout)) as server:
        connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=60)
        asked = {"prompt": "x", "stream": True, "max_tokens": tokens, "min_tokens": tokens}
        connection.request("POST", "/v1/completions", json.dumps(asked), {"content-type": "application/json"})
        answer = connection.getresponse()
        assert answer.status == 200 and answer.readline()
        if not whole:
            status, headers, body = server.ask("/v1/completions", {**asked, "stream": False})
            assert status == 504 and headers["x-should-retry"] == "false" and body["error"]["code"] == "timeout"
            assert json.loads(server.events("/v1/completions", asked)[-2])["error"]["code"] == "timeout"
        server.process.send_signal(signal.SIGTERM)
        try:
            rest = answer.read()
        except http.client.IncompleteRead as cut:
            rest = cut.partial
        assert rest.endswith(b"data: [DONE]\n\n") and (b'"finish_reason":"length"' in rest) == whole
        assert server.process.wait(60) in (0, -signal.SIGTERM)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--host", "0.0.0.0"), "--api-key"),
        (("--timeout", "0"), "--timeout"),
        (("--port", "99999"), "--port"),
        (("--max-batch-tokens", "0"), "--max-batch-tokens"),
        (("--memory", "much"), "--memory"),
    ],
)
def test_what_cannot_be_is_one_line(folder, options, complaint):
    model = write_language_model(folder / "never.openbook")
    found = CliRunner().invoke(app, ["serve", str(model), *options]).exception
    assert isinstance(found, OpenbookError)
    message = found.spelled(option_name) if isinstance(found, SettingError) else str(found)
    assert complaint in message and "\n" not in message
