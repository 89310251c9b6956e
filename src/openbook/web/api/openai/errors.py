"""Errors as OpenAI's clients read them."""

from http import HTTPStatus
from typing import Any

from openbook.web.serve.errors import ApiError
from openbook.web.serve.json_bytes import sse

TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}


def error_body(problem: ApiError, request_id: str) -> dict[str, Any]:
    """`{"error": {"message", "type", "param", "code"}}`."""
    kind = TYPES.get(problem.status, "server_error" if problem.status >= 500 else "invalid_request_error")
    code = problem.code or HTTPStatus(problem.status).phrase.lower().replace(" ", "_")
    return {"error": {"message": problem.message, "type": kind, "param": problem.param, "code": code}}


def error_event(problem: ApiError, request_id: str) -> bytes:
    """The same in a stream: an event with `error` in it, which clients raise, and the end."""
    return sse(error_body(problem, request_id)) + DONE


DONE = b"data: [DONE]\n\n"
"""What ends every stream."""
