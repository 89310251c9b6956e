"""The page of a run as an application that any ASGI server runs, alone or mounted beside others.

| request | answer |
| --- | --- |
| GET / and files | the page, from `page/` |
| GET api/runs/N/manifest | what the run is: tokens, steps, model, outline |
| GET api/runs/N/steps/I | all that step I recorded: paths, shapes, axes, operands, formulas as trees and MathML |
| POST api/runs/N/slices | parts of recorded tensors and weights, as a safetensors file of float32 |
| GET api/runs/N/derivation | one number: formula, operands with their values and bytes, recomputed, recorded, error |
| GET api/runs/N/views/NAME | logit lens, contributions, choice, tokenizer, cache, … |
| POST api/runs | another prompt or other settings: {"run": M} |

A number that is not finite is {"number": "NaN"}, "Infinity" or "-Infinity". Mistakes of a request are 400 with
{"error": one line}.
"""

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from openbook.errors import OpenbookError
from openbook.explanation.page.derivation_data import parse_terms
from openbook.explanation.page.json_values import to_json
from openbook.explanation.page.page_run import PageRun
from openbook.web.guard import SecurityHeaders
from openbook.web.runs import Runs

PAGE = Path(__file__).parent / "page"
MAX_BODY = 2**20

Endpoint = Callable[[Request], Awaitable[Response]]


def page_app(runs: Runs) -> Starlette:
    """The application; it checks nobody's right to open it, see `guard.Guard`."""

    def answer(work: Callable[[PageRun, Request, Any], Any]) -> Endpoint:
        """An endpoint that computes on a thread, one request at a time."""

        async def endpoint(request: Request) -> Response:
            try:
                body = await _body(request) if request.method == "POST" else None

                def compute() -> Any:
                    run = runs[request.path_params["run"]]
                    with runs.lock:
                        return work(run, request, body)

                found = await run_in_threadpool(compute)
            except OpenbookError as error:
                return _error(str(error))
            if isinstance(found, bytes):
                return Response(found, media_type="application/octet-stream")
            return Response(found if isinstance(found, str) else to_json(found), media_type="application/json")

        return endpoint

    async def start(request: Request) -> Response:
        try:
            body = await _body(request)
            return JSONResponse({"run": await run_in_threadpool(runs.start, body)})
        except OpenbookError as error:
            return _error(str(error))

    run = "/api/runs/{run:int}"
    routes = [
        Route("/api/runs", start, methods=["POST"]),
        Route(f"{run}/manifest", answer(_manifest)),
        Route(f"{run}/steps/{{step:int}}", answer(lambda page, request, _: page.step(request.path_params["step"]))),
        Route(f"{run}/slices", answer(_slices), methods=["POST"]),
        Route(f"{run}/derivation", answer(_derivation)),
        Route(f"{run}/views/{{name}}", answer(_view)),
        Mount("/", StaticFiles(directory=PAGE, html=True)),
    ]
    app = Starlette(routes=routes)
    app.add_middleware(SecurityHeaders)
    return app


def _manifest(page: PageRun, request: Request, _: Any) -> dict[str, Any]:
    return page.manifest() | {"door": "server", "run": request.path_params["run"]}


def _slices(page: PageRun, _: Request, body: Any) -> bytes:
    wanted = body.get("slices")
    if not isinstance(wanted, list) or not all(isinstance(each, dict) for each in wanted):
        raise OpenbookError("slices: give a list of objects")
    return page.slices(wanted)


def _derivation(page: PageRun, request: Request, _: Any) -> dict[str, Any]:
    query = request.query_params
    index = _whole_numbers("index", query.get("index", ""))
    (step,) = _whole_numbers("step", query.get("step", "0")) or [0]
    return page.derivation(step, query.get("path", ""), index, parse_terms(query.get("terms", "16")))


def _view(page: PageRun, request: Request, _: Any) -> dict[str, Any]:
    return page.view(request.path_params["name"], request.query_params)


def _whole_numbers(name: str, text: str) -> list[int]:
    parts = text.split(",") if text else []
    if not all(part.isascii() and part.isdigit() and len(part) < 10 for part in parts):
        raise OpenbookError(f"{name}: give whole numbers with commas between them")
    return [int(part) for part in parts]


async def _body(request: Request) -> dict[str, Any]:
    content = b""
    async for chunk in request.stream():
        content += chunk
        if len(content) > MAX_BODY:
            raise OpenbookError(f"the request has more than {MAX_BODY:,} bytes; ask for less at a time")
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        raise OpenbookError("the request is not JSON") from None
    if not isinstance(body, dict):
        raise OpenbookError("the request is not a JSON object")
    return body


def _error(message: str) -> Response:
    return Response(to_json({"error": message}), status_code=400, media_type="application/json")
