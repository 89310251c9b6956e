"""The routes of Anthropic's shape, and its errors."""

from typing import Any

from fastapi import APIRouter, Request, Response

from openbook.web.api.anthropic.answers import events, message
from openbook.web.api.anthropic.bodies import CountBody, MessagesBody
from openbook.web.api.anthropic.translation import chat_prompt, generation_request
from openbook.web.serve.errors import ApiError
from openbook.web.serve.json_bytes import sse
from openbook.web.serve.responses import json_response, stream, whole
from openbook.web.serve.service import service_of
from openbook.web.serve.shape import Shape

router = APIRouter(tags=["Anthropic"])

ERROR_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def error_body(problem: ApiError, request_id: str) -> dict[str, Any]:
    """A problem as their clients read it."""
    kind = ERROR_TYPES.get(problem.status, "api_error" if problem.status >= 500 else "invalid_request_error")
    return {"type": "error", "error": {"type": kind, "message": problem.message}, "request_id": request_id}


@router.post("/v1/messages")
async def messages(body: MessagesBody, request: Request) -> Response:
    """Answer a conversation, as one object or as a stream of events."""
    generation = await service_of(request).begin(generation_request(body), request)
    if body.stream:
        return stream(request, generation, events(generation, body.max_tokens))
    return await whole(request, generation, lambda result: message(generation, result, body.max_tokens))


@router.post("/v1/messages/count_tokens")
async def count_tokens(body: CountBody, request: Request) -> Response:
    """How many tokens a conversation has when the model reads it."""
    ids = await service_of(request).count(body.model, chat_prompt(body))
    return json_response({"input_tokens": len(ids)})


SHAPE = Shape(
    name="anthropic",
    router=router,
    paths=("/v1/messages",),
    error_body=error_body,
    error_event=lambda problem, request_id: sse(error_body(problem, request_id), event="error"),
    ping=sse({"type": "ping"}, event="ping"),
)
