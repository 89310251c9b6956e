"""OpenAI's shape, as the server knows it."""

from fastapi import APIRouter

from openbook.web.api.openai import chat, completions, models
from openbook.web.api.openai.errors import error_body, error_event
from openbook.web.serve.shape import Shape

router = APIRouter(tags=["OpenAI"])
for each in (models, chat, completions):
    router.include_router(each.router)

SHAPE = Shape(name="openai", router=router, paths=("/v1/",), error_body=error_body, error_event=error_event)
