"""The route of OpenAI's responses; its errors are those of OpenAI's other routes."""

from fastapi import APIRouter, Request, Response

from openbook.web.api.openai.errors import DONE, error_body
from openbook.web.api.responses.answers import events, whole_response
from openbook.web.api.responses.bodies import ResponsesBody
from openbook.web.api.responses.translation import generation_request
from openbook.web.serve.errors import ApiError
from openbook.web.serve.json_bytes import sse
from openbook.web.serve.responses import stream, whole
from openbook.web.serve.service import service_of
from openbook.web.serve.shape import Shape

router = APIRouter(tags=["OpenAI"])


@router.post("/v1/responses")
async def responses(body: ResponsesBody, request: Request) -> Response:
    """Answer a conversation, as one object or as a stream of events. Nothing is kept between requests."""
    generation = await service_of(request).begin(generation_request(body), request)
    if body.stream:
        return stream(request, generation, events(body, generation))
    return await whole(request, generation, lambda result: whole_response(body, generation, result))


def error_event(problem: ApiError, request_id: str) -> bytes:
    """An error in a stream: an event of its own type, with what clients raise."""
    said = error_body(problem, request_id)
    fields = {name: said["error"][name] for name in ("code", "message", "param")}
    return sse({"type": "error", "sequence_number": 0, **fields, **said}, event="error") + DONE


SHAPE = Shape(name="responses", router=router, paths=("/v1/responses",), error_body=error_body, error_event=error_event)
