"""From exceptions to answers: what a person did wrong is told, everything else gets an id and stays in the log."""

import math
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from openbook.errors import OpenbookError
from openbook.text.printable import excerpt
from openbook.web.serve.errors import ApiError
from openbook.web.serve.json_bytes import to_json
from openbook.web.serve.shape import Shape

LIMITS = {
    "greater_than_equal": ("ge", "at least"),
    "less_than_equal": ("le", "at most"),
    "greater_than": ("gt", "above"),
    "less_than": ("lt", "below"),
}


def problem_of(error: Exception, request_id: str) -> ApiError:
    """What to answer to an exception of any kind."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, RequestValidationError):
        return _invalid(error.errors(), error.body)
    if isinstance(error, OpenbookError):
        return ApiError(400, str(error))
    if isinstance(error, HTTPException):
        return ApiError(error.status_code, _plain(error), headers=error.headers)
    return internal(request_id)


def internal(request_id: str) -> ApiError:
    """The answer to a fault of ours."""
    return ApiError(500, f"internal error {request_id}; the server's log tells more", code="internal_error")


def problem_response(problem: ApiError, request_id: str, shape: Shape) -> Response:
    """The answer in the words of its shape."""
    headers = dict(problem.headers)
    if problem.retry_after is not None:
        headers["retry-after"] = str(max(1, math.ceil(problem.retry_after)))
    if problem.status == 401:
        headers["www-authenticate"] = 'Basic realm="openbook", charset="UTF-8"'
    if problem.status == 504:
        headers["x-should-retry"] = "false"  # it would take as long again
    content = to_json(shape.error_body(problem, request_id))
    return Response(content, problem.status, headers, media_type="application/json")


def _plain(error: HTTPException) -> str:
    if error.status_code == 404:
        return "there is no such address here; /openapi.json lists those there are"
    if error.status_code == 405:
        return "this address does not take that method; /openapi.json lists what it takes"
    return str(error.detail) or HTTPStatus(error.status_code).phrase


def _invalid(details: Sequence[Any], body: Any) -> ApiError:
    """What is wrong with the field that pydantic got furthest with, where it may be one of several types."""
    paths = [_path(detail, body) for detail in details]
    param, first = min(zip(paths, details, strict=True), key=lambda pair: (-len(pair[0]), -len(pair[1]["loc"])))
    fault = first["type"]
    if fault == "json_invalid":
        return ApiError(400, "the body is not JSON; send an object with the fields of the request", code="invalid_json")
    if fault == "extra_forbidden":
        message = f"{param}: this server does not support it; leave it out"
    elif fault == "missing":
        message = f"{param or 'the body'}: is missing"
    elif fault in LIMITS:
        key, words = LIMITS[fault]
        message = f"{param}: give a number {words} {first['ctx'][key]:g}"
    elif fault == "literal_error":
        message = f"{param}: this server supports only {first['ctx']['expected']}"
    else:
        message = f"{param or 'the body'}: {_lower(str(first['msg']))}"
    return ApiError(400, excerpt(message, 400), param=excerpt(param, 200) or None)


def _path(detail: Any, body: Any) -> str:
    """`messages.0.role`, by what is in the body: pydantic's path also has names of the types that a field may have."""
    parts: list[str] = []
    place, at = detail["loc"][1:], body
    for number, part in enumerate(place):
        if isinstance(at, dict) and (part in at or (detail["type"] == "missing" and number == len(place) - 1)):
            at = at.get(part)
        elif isinstance(at, list) and isinstance(part, int) and part < len(at):
            at = at[part]
        else:
            continue
        parts.append(excerpt(str(part)))
    return ".".join(parts)


def _lower(text: str) -> str:
    text = text.removeprefix("Value error, ").removeprefix("Input ")
    return text[:1].lower() + text[1:]
