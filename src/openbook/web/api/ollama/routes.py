"""The routes of Ollama's shape."""

from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Request, Response

from openbook import __version__
from openbook.web.api.ollama.answers import Clock, Style, beginning, chat_text, generate_text, lines, whole_answer
from openbook.web.api.ollama.bodies import Asked, ChatBody, GenerateBody, ShowBody, seconds
from openbook.web.api.ollama.models import process, show, tag
from openbook.web.api.ollama.translation import chat_prompt, generate_prompt, generation_request
from openbook.web.serve.errors import bad_request
from openbook.web.serve.json_bytes import json_line
from openbook.web.serve.prompts import Prompt
from openbook.web.serve.request import GenerationRequest
from openbook.web.serve.responses import json_response, stream, whole
from openbook.web.serve.service import Service, service_of
from openbook.web.serve.shape import Shape

router = APIRouter(prefix="/api", tags=["Ollama"])

FOLLOWED = "0.12.11"
"""The version of Ollama whose fields these routes have; some clients refuse to work with an older one."""
NDJSON = "application/x-ndjson"


@router.post("/chat")
async def chat(body: ChatBody, request: Request) -> Response:
    """Answer a conversation, as a stream of lines or as one object."""
    if not body.messages:
        return await _load(body, request, chat_text("", ()))
    prompt = chat_prompt(body.messages, body.tools or ())
    return await _answer(body, request, prompt, "messages", Style(chat_text, bool(body.logprobs)))


@router.post("/generate")
async def generate(body: GenerateBody, request: Request) -> Response:
    """Answer a prompt, as a stream of lines or as one object."""
    if not body.prompt:
        return await _load(body, request, generate_text("", ()))
    has_template = service_of(request).registry.metadata(body.model).chat_template is not None
    prompt = generate_prompt(body, has_template)
    return await _answer(body, request, prompt, "prompt", Style(generate_text, bool(body.logprobs)))


@router.get("/tags")
async def tags(request: Request) -> Response:
    """The served models."""
    registry = service_of(request).registry
    return json_response({"models": [tag(entry, entry.metadata) for entry in registry.entries]})


@router.get("/ps")
async def ps(request: Request) -> Response:
    """The models in memory."""
    registry = service_of(request).registry
    found = [process(entry, entry.metadata) for entry in registry.loaded]
    return json_response({"models": found})


@router.post("/show")
async def show_model(body: ShowBody, request: Request) -> Response:
    """What a model is."""
    name = body.model or body.name
    if name is None:
        raise bad_request("model: say which", "model")
    entry = service_of(request).registry.entry(name)
    return json_response(show(entry, entry.metadata))


@router.get("/version")
async def version() -> Response:
    """The version of Ollama that these routes follow, and after the + that of openbook."""
    return json_response({"version": f"{FOLLOWED}+openbook.{__version__}"})


async def _answer(body: Asked, request: Request, prompt: Prompt, field: str, style: Style) -> Response:
    clock, service = Clock(), service_of(request)
    _keep(body, service)
    asked = await _bounded(body, service, generation_request(body, prompt), field)
    generation = await service.begin(asked, request)
    clock.begun()
    if body.stream is False:
        return await whole(request, generation, lambda result: whole_answer(generation, result, style, clock))
    return stream(request, generation, lines(generation, style, clock), media_type=NDJSON)


async def _bounded(body: Asked, service: Service, asked: GenerationRequest, field: str) -> GenerationRequest:
    """The request within `num_ctx` tokens of prompt and answer."""
    context = None if body.options is None else body.options.num_ctx
    if context is None:
        return asked
    read = len(await service.count(asked.model, asked.prompts[0]))
    if read >= context:
        raise bad_request(f"{field}: {read:,} tokens, and options.num_ctx leaves no room after {context:,}", field)
    limit = asked.settings.get("max_tokens", (await service.model(body.model)).model.sampling().max_tokens)
    return replace(asked, settings={**asked.settings, "max_tokens": min(limit, context - read)})


def _keep(body: Asked, service: Service) -> None:
    """Keep the model in memory as long as the request says."""
    if body.keep_alive is not None:
        service.registry.keep_alive(body.model, seconds(body.keep_alive))


async def _load(body: Asked, request: Request, nothing: dict[str, Any]) -> Response:
    """Load a model, or let it go, and write nothing."""
    service = service_of(request)
    unload = body.keep_alive is not None and seconds(body.keep_alive) == 0
    if not unload:
        await service.model(body.model)
    _keep(body, service)
    name = service.registry.entry(body.model).id
    done = {"done": True, "done_reason": "unload" if unload else "load"}
    return json_response(beginning(name) | nothing | done)


SHAPE = Shape(
    name="ollama",
    router=router,
    paths=("/api/",),
    error_body=lambda problem, request_id: {"error": problem.message},
    error_event=lambda problem, request_id: json_line({"error": problem.message}),
    ping=b"",
)
