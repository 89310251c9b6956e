"""For those who run the server: is it up, is it ready, how is it doing."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from openbook.web.serve.errors import ApiError
from openbook.web.serve.responses import json_response
from openbook.web.serve.service import service_of

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"

router = APIRouter(tags=["Operations"])


@router.get("/health")
async def health() -> Response:
    """The server is up."""
    return json_response({"status": "ok"})


@router.get("/ready")
async def ready(request: Request) -> Response:
    """The model is in memory, and requests are answered."""
    service = service_of(request)
    if service.problem is not None:
        raise ApiError(503, service.problem, code="model_not_loaded")
    if not service.ready:
        raise ApiError(503, "the model is being loaded; try again soon", code="model_loading", retry_after=1)
    return json_response({"status": "ready", "models": service.registry.names})


@router.get("/metrics", responses={200: {"content": {"text/plain": {}}}})
async def metrics(request: Request) -> Response:
    """Counters and gauges for Prometheus."""
    return Response(service_of(request).metrics.text(), headers={"content-type": METRICS_TYPE})
