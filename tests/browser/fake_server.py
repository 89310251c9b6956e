"""A server in OpenAI's shape that says what a test wants: for what no real model can be made to do, such as failing."""

import asyncio
import json
import math
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from openbook.web.pages import page_routes

MODELS = {
    "tiny-chat": {"chat": True, "translates": False, "explains": True, "context": 2048},
    "tiny-text": {"chat": False, "translates": False, "explains": True, "context": 512},
    "tiny-translator": {"chat": False, "translates": True, "explains": True, "context": 64},
}
DEFAULTS = {"temperature": 0.7, "top_p": 0.9, "top_k": 40, "min_p": 0.05, "max_tokens": 128}
ANSWER = "Yes, **openbook** is *awesome*."


class Fake:
    """What it answers, and what it was asked.

    Attributes:
        answers: for the next requests, one each; then `ANSWER`.
        refusals: (status, headers, message) of the next requests, before any answer.
        wait: seconds between two tokens.
        breaks: after so many tokens the connection breaks off.
        asked: (path, body) of each request.
        gone: streams that a client closed before their end.
        key: that is asked for; None asks for none.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.answers: list[str] = []
        self.refusals: list[tuple[int, dict[str, str], str]] = []
        self.wait = 0.0
        self.breaks: int | None = None
        self.asked: list[tuple[str, dict]] = []
        self.gone = 0
        self.key: str | None = None

    def refusal(self, request: Request) -> Response | None:
        if self.key and request.headers.get("authorization") != f"Bearer {self.key}":
            return _error(401, {}, "give the API key")
        if self.refusals and request.method == "POST":
            return _error(*self.refusals.pop(0))
        return None

    async def models(self, request: Request) -> Response:
        data = [
            {"id": name, "object": "model", "created": 0, "owned_by": "me", "openbook": {**kind, "defaults": DEFAULTS}}
            for name, kind in MODELS.items()
        ]
        return self.refusal(request) or JSONResponse({"object": "list", "data": data})

    async def generate(self, request: Request) -> Response:
        body = await request.json()
        self.asked.append((request.url.path, body))
        if refused := self.refusal(request):
            return refused
        chat = request.url.path.endswith("/chat/completions")
        answer = self.answers.pop(0) if self.answers else ANSWER
        return StreamingResponse(self.stream(answer, chat), media_type="text/event-stream")

    async def stream(self, answer: str, chat: bool) -> AsyncIterator[bytes]:
        finished = False
        try:
            yield b": ping\n\n"
            for number, token in enumerate(tokens_of(answer)):
                if number == self.breaks:
                    raise ConnectionError("as the test wants it")
                yield _event(_chunk(token, 100 + number, chat))
                await asyncio.sleep(self.wait)
            end = {"index": 0, "finish_reason": "stop", **({"delta": {}} if chat else {"text": ""})}
            yield _event({"choices": [end]})
            yield b"data: [DONE]\n\n"
            finished = True
        finally:
            self.gone += not finished

    async def translate(self, request: Request) -> Response:
        body = await request.json()
        self.asked.append((request.url.path, body))
        return self.refusal(request) or JSONResponse({"translatedText": [line.upper() for line in body["q"]]})

    async def explain(self, request: Request) -> Response:
        self.asked.append((request.url.path, await request.json()))
        return self.refusal(request) or JSONResponse({"url": "/page/index.html#level=panel&panel=choice"})


def tokens_of(text: str) -> list[str]:
    """Pieces of three characters."""
    return [text[i : i + 3] for i in range(0, len(text), 3)]


def _chunk(token: str, number: int, chat: bool) -> dict:
    top = [(token, number, 0.7), (" other", 7, 0.2), ("<b>", 8, 0.05)]
    entries = [{"token": t, "id": i, "logprob": math.log(p), "bytes": [*t.encode()]} for t, i, p in top]
    if chat:
        content = [{**entries[0], "top_logprobs": entries}]
        choice = {"index": 0, "delta": {"content": token}, "logprobs": {"content": content}, "finish_reason": None}
    else:
        logprobs = {
            "tokens": [token],
            "token_logprobs": [entries[0]["logprob"]],
            "top_logprobs": [{t: math.log(p) for t, _, p in top}],
            "token_ids": [number],
            "token_bytes": [entries[0]["bytes"]],
        }
        choice = {"index": 0, "text": token, "logprobs": logprobs, "finish_reason": None}
    return {"choices": [choice]}


def _event(value: dict) -> bytes:
    return f"data: {json.dumps(value)}\n\n".encode()


def _error(status: int, headers: dict[str, str], message: str) -> Response:
    return JSONResponse({"error": {"message": message}}, status_code=status, headers=headers)


async def _languages(_: Request) -> Response:
    return JSONResponse(
        [{"code": "de", "name": "German", "targets": ["en"]}, {"code": "en", "name": "English", "targets": ["de"]}]
    )


@contextmanager
def fake_server() -> Iterator[tuple[str, Fake]]:
    """Its address and what it does, as long as the block runs."""
    fake = Fake()
    routes = [
        Route("/v1/models", fake.models),
        Route("/v1/chat/completions", fake.generate, methods=["POST"]),
        Route("/v1/completions", fake.generate, methods=["POST"]),
        Route("/v1/explain", fake.explain, methods=["POST"]),
        Route("/translate", fake.translate, methods=["POST"]),
        Route("/languages", _languages),
        *page_routes(),
    ]
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    config = uvicorn.Config(Starlette(routes=routes), log_level="critical", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/", fake
    finally:
        server.should_exit = True
        server.force_exit = True
        thread.join(20)
        listening.close()
