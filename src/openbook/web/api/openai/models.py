"""/v1/models: what is served, how it answers, and what it can do."""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from openbook.generation.settings import Sampling
from openbook.web.api.anthropic.models import PAGE, model_info, models_page
from openbook.web.serve.errors import bad_request
from openbook.web.serve.registry import Entry
from openbook.web.serve.responses import json_response
from openbook.web.serve.service import service_of

router = APIRouter()

ANTHROPIC = "anthropic-version"
"""The header by which Anthropic's clients are known."""
Id = Annotated[str, Query(max_length=256)]
Limit = Annotated[int, Query(ge=1, le=1000)]


@router.get("/v1/models")
async def list_models(
    request: Request, before_id: Id | None = None, after_id: Id | None = None, limit: Limit | None = None
) -> Response:
    """All models that are served; with the header `anthropic-version`, a page of them as Anthropic has it."""
    entries = service_of(request).registry.entries
    if ANTHROPIC in request.headers:
        return json_response(models_page(entries, before_id, after_id, limit or PAGE))
    for name in ("before_id", "after_id", "limit"):
        if name in request.query_params:
            raise bad_request(f"{name}: only Anthropic's clients have it, with the header {ANTHROPIC}", name)
    return json_response({"object": "list", "data": [describe(entry) for entry in entries]})


@router.get("/v1/models/{model}")
async def get_model(model: str, request: Request) -> Response:
    """One model, likewise."""
    entry = service_of(request).registry.entry(model)
    return json_response(model_info(entry) if ANTHROPIC in request.headers else describe(entry))


def describe(entry: Entry) -> dict[str, Any]:
    """A model in OpenAI's words, and in ours under `openbook`."""
    metadata, loaded = entry.metadata, entry.loaded
    architecture = metadata.architecture
    defaults = asdict(Sampling()) | dict(metadata.generation)
    special = metadata.special_tokens
    translates = architecture.encoder is not None or (special is not None and special.separator is not None)
    ours = {
        "kind": "decoder-only" if architecture.encoder is None else "encoder-decoder",
        "chat": metadata.chat_template is not None,
        "translates": loaded.model.translates if loaded is not None else translates,
        "context": architecture.context,
        "vocabulary": architecture.vocab_size,
        "loaded": loaded is not None,
        "engine": None if loaded is None else loaded.engine_name,
        "exact": None if loaded is None else loaded.batcher.exact,
        "defaults": {
            name: value for name, value in defaults.items() if name not in ("stop", "top_alternatives", "logit_bias")
        },
        "explains": True,
    }
    return {"id": entry.id, "object": "model", "created": _created(entry), "owned_by": "openbook", "openbook": ours}


def _created(entry: Entry) -> int:
    """Seconds since 1970 when its file was written."""
    return 0 if entry.state is None else entry.state.modified // 10**9
