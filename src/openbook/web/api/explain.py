"""Looking inside an answer: it is computed again with the same tokens, and every number of each step can be read."""

import asyncio
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from pydantic import Discriminator, Field, Tag
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from openbook.generation.settings import Sampling
from openbook.text.characters import clean_line
from openbook.web.api.openai.chat import ChatBody
from openbook.web.api.openai.completions import CompletionBody
from openbook.web.api.openai.errors import error_body, error_event
from openbook.web.explained import RUN_BYTES, ExplainedAnswers
from openbook.web.serve.bodies import LONG, Body
from openbook.web.serve.errors import bad_request
from openbook.web.serve.loaded import LoadedModel
from openbook.web.serve.prompts import Prompt, SourcePrompt, TextPrompt, TokenPrompt
from openbook.web.serve.request import GenerationRequest, Plan, plan_requests
from openbook.web.serve.responses import json_response
from openbook.web.serve.service import service_of
from openbook.web.serve.shape import Shape

router = APIRouter(tags=["openbook"])

MOST_STEPS = 1024
"""Tokens of an answer that is explained: each is a traced pass."""

Token = Annotated[int, Field(ge=0, lt=2**24)]
Written = Annotated[list[Token], Field(min_length=1, max_length=MOST_STEPS)]
Code = Annotated[str, Field(min_length=1, max_length=100)]


class Place(Body):
    """Which answer, and which token of it.

    Attributes:
        written: the ids of the answer's tokens, up to the one looked at or further; without them the answer is
            computed anew.
        token: the index of the one looked at.
        choice: which of several answers it was.
    """

    written: Written | None = None
    token: Annotated[int, Field(ge=0, lt=MOST_STEPS)] = 0
    choice: Annotated[int, Field(ge=0, le=1024)] = 0


class ExplainChat(ChatBody, Place):
    """The request of /v1/chat/completions that was answered."""

    def asked(self) -> tuple[Prompt, str]:
        """The prompt, and what to show of it."""
        conversation = self.conversation()
        return conversation, str(conversation.messages[-1]["content"])


class ExplainCompletion(CompletionBody, Place):
    """The request of /v1/completions that was answered; of one prompt."""

    def asked(self) -> tuple[Prompt, str]:
        """The prompt, and what to show of it.

        Raises:
            ApiError: there are several.
        """
        prompts = self.prompts()
        if len(prompts) != 1:
            raise bad_request(f"prompt: there are {len(prompts)}; give the one that was answered", "prompt")
        return prompts[0], prompts[0].text if isinstance(prompts[0], TextPrompt) else ""


class ExplainTranslation(Place):
    """A sentence and its translation, by its text or its tokens."""

    model: Annotated[str, Field(max_length=256)] | None = None
    prompt: Annotated[str, Field(min_length=1, max_length=LONG)]
    source: Code | None = None
    target: Code | None = None
    translation: Annotated[str, Field(min_length=1, max_length=LONG)] | None = None

    def asked(self) -> tuple[Prompt, str]:
        """The prompt, and what to show of it."""
        return SourcePrompt(self.prompt, self.target, self.source), self.prompt


def _kind(body: Any) -> str:
    """What was answered."""
    if isinstance(body, ExplainChat) or (isinstance(body, dict) and "messages" in body):
        return "chat"
    of_translation = isinstance(body, dict) and body.keys() & {"source", "target", "translation"}
    return "translation" if isinstance(body, ExplainTranslation) or of_translation else "completion"


AnyExplain = ExplainChat | ExplainCompletion | ExplainTranslation
ExplainBody = Annotated[
    Annotated[ExplainChat, Tag("chat")]
    | Annotated[ExplainCompletion, Tag("completion")]
    | Annotated[ExplainTranslation, Tag("translation")],
    Discriminator(_kind),
]


@router.post("/v1/explain")
async def explain(body: ExplainBody, request: Request) -> Response:
    """Compute an answer again and keep every number of it for a while, at an address that opens a page.

    Below that address, `api/runs/0/manifest` says what was computed, `api/runs/0/steps/N` what each step recorded, and
    `api/runs/0/slices` gives the numbers.
    """
    service, answers = service_of(request), explained_of(request.app)
    loaded = await service.model(body.model)
    in_memory = [entry.loaded.model for entry in service.registry.loaded if entry.loaded is not None]
    answers.drop(in_memory.__contains__)
    key = await asyncio.to_thread(_explain, answers, loaded, body)
    beginning = f"/explain/{key}/"
    return json_response({"url": f"{beginning}#step={body.token}", "manifest": f"{beginning}api/runs/0/manifest"})


def explained_of(app: Any) -> ExplainedAnswers:
    """The kept answers of an application."""
    if not hasattr(app.state, "explained"):
        app.state.explained = ExplainedAnswers()
    kept: ExplainedAnswers = app.state.explained
    return kept


def _explain(answers: ExplainedAnswers, loaded: LoadedModel, body: AnyExplain) -> str:
    """Run the answer again; return the key of its page.

    Raises:
        ApiError, OpenbookError: the request is wrong, or its answer too long to explain.
    """
    from openbook.explanation.page.manifest import Asked
    from openbook.web.model_runs import answer_run

    prompt, shown = body.asked()
    if isinstance(prompt, SourcePrompt) and not loaded.tokenizer.special.languages:
        prompt = SourcePrompt(prompt.text)  # as for /translate, the languages of such a model are not its tokens
    given = {} if isinstance(body, ExplainTranslation) else body.settings()
    asked = GenerationRequest(model=body.model, prompts=[prompt], settings=given)
    plan = plan_requests(loaded, asked, "")[0]
    written = _written(loaded, body, plan)
    settings = _settings(plan, body, len(written))
    language = plan.prompt.target_language
    languages = {"target_language": language} if loaded.model.translates else {}
    described = Asked(shown, raw=isinstance(prompt, TextPrompt | TokenPrompt), start=1, languages=languages)
    settings_shown = {"temperature": 0.0, "max_tokens": settings.max_tokens}
    return answers.add(
        loaded.model,
        lambda: answer_run(
            loaded.model,
            plan.prompt.ids,
            written,
            settings,
            described,
            source=plan.prompt.source,
            most_bytes=RUN_BYTES,
        ),
        {"prompt": shown, "target": "", "raw": described.raw, "settings": settings_shown},
        languages,
    )


def _written(loaded: LoadedModel, body: AnyExplain, plan: Plan) -> list[int]:
    """The tokens of the answer, none if they are not known.

    Raises:
        ApiError: the token looked at is not among them.
    """
    written = body.written
    if written is None and isinstance(body, ExplainTranslation) and body.translation is not None:
        text = loaded.tokenizer.encode(clean_line(body.translation))
        written = [*plan.request.rules.forced_prefix, *text, loaded.tokenizer.end_id][:MOST_STEPS]
    if written is not None and body.token >= len(written):
        raise bad_request(f"token: is {body.token}, and the answer has {len(written)} tokens", "token")
    return written or []


def _settings(plan: Plan, body: AnyExplain, count: int) -> Sampling:
    """The settings of the answer; those of a beam search choose nothing here, so the most probable token stands in.

    Raises:
        ApiError: it was sampled, and nobody says with which seed.
    """
    decoding = plan.request.decoding
    most = count or body.token + 1
    if not isinstance(decoding, Sampling):
        return Sampling(temperature=0.0, max_tokens=most)
    seed = None if isinstance(body, ExplainTranslation) else body.seed
    if decoding.temperature > 0 and seed is None:
        raise bad_request("seed: the answer was sampled; give the seed that it names, or temperature 0", "seed")
    return replace(decoding, max_tokens=most, seed=None if seed is None else seed + body.choice)


class _Opened:
    """The pages of kept answers, as an ASGI application below /explain/KEY."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        below = scope.get("root_path", "") + f"/explain/{scope['path_params']['key']}"
        await explained_of(scope["app"])({**scope, "root_path": below}, receive, send)


router.routes.append(Route("/explain/{key}/{rest:path}", _Opened(), include_in_schema=False))

SHAPE = Shape(
    name="explain", router=router, paths=("/v1/explain", "/explain"), error_body=error_body, error_event=error_event
)
