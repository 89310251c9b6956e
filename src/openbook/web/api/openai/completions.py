"""/v1/completions: texts or token ids go on."""

from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import Field
from starlette.responses import Response

from openbook.web.api.openai.errors import DONE
from openbook.web.api.openai.fields import Common, Count, Text, finish_reason, usage
from openbook.web.serve.bodies import MANY
from openbook.web.serve.choices import TokenInfo
from openbook.web.serve.generation import Choice, Generation, Result
from openbook.web.serve.json_bytes import sse
from openbook.web.serve.prompts import Prompt, TextPrompt, TokenPrompt
from openbook.web.serve.request import GenerationRequest
from openbook.web.serve.responses import stream, whole
from openbook.web.serve.service import service_of

router = APIRouter()

Token = Annotated[int, Field(ge=0, lt=2**24)]
Tokens = Annotated[list[Token], Field(min_length=1, max_length=2**18)]


class CompletionBody(Common):
    """A request to go on."""

    prompt: (
        Text
        | Annotated[list[Text], Field(min_length=1, max_length=MANY)]
        | Tokens
        | Annotated[list[Tokens], Field(min_length=1, max_length=MANY)]
    )
    max_tokens: Annotated[int, Field(ge=0, le=2**31)] | None = None
    best_of: Count | None = None
    echo: bool | None = None
    logprobs: Annotated[int, Field(ge=0, le=100)] | None = None
    suffix: None = None

    def prompts(self) -> list[Prompt]:
        """The prompts, one or several."""
        given: Sequence[Any] = self.prompt if isinstance(self.prompt, list) else [self.prompt]
        if isinstance(given[0], int):
            given = [given]
        return [TextPrompt(each) if isinstance(each, str) else TokenPrompt(each) for each in given]


@router.post("/v1/completions")
async def complete(body: CompletionBody, request: Request) -> Response:
    """Texts or token ids go on."""
    settings = body.settings()
    if body.max_tokens is not None:
        settings["max_tokens"] = body.max_tokens
    wants_usage = body.wants_usage
    prompts = body.prompts()
    asked = GenerationRequest(
        model=body.model,
        prompts=prompts,
        settings=settings,
        n=body.samples,
        best_of=body.best_of,
        logprobs=body.logprobs,
        echo=bool(body.echo),
        format=body.output_format(),
        languages=body.languages,
    )
    generation = await service_of(request).begin(asked, request)
    writer = _Writer(generation, body)
    if body.stream:
        return stream(request, generation, writer.chunks(wants_usage))
    return await whole(request, generation, writer.answer)


class _Writer:
    """Writes the answer to one request."""

    def __init__(self, generation: Generation, body: CompletionBody) -> None:
        self._generation, self._body = generation, body
        self._prompts = body.prompts()
        self._head = {
            "id": f"cmpl-{generation.id}",
            "object": "text_completion",
            "created": generation.created,
            "model": generation.model.id,
            "system_fingerprint": generation.model.fingerprint,
            "seed": generation.seed,
        }
        self._offsets: dict[int, int] = {}

    def answer(self, result: Result) -> dict[str, Any]:
        """The whole answer."""
        counted = result.usage
        return {
            **self._head,
            "choices": [self._choice(choice) for choice in result.choices],
            "usage": usage(counted.prompt_tokens, counted.completion_tokens, counted.cached_tokens),
        }

    def _choice(self, choice: Choice) -> dict[str, Any]:
        text = self._echo(choice.index) + choice.text
        tokens = [*choice.prompt_tokens, *choice.tokens]
        return self._piece(choice.index, text, tokens, choice.finish_reason)

    def _echo(self, index: int) -> str:
        """The prompt as text, if it is wanted before the answer."""
        if not self._body.echo:
            return ""
        prompt = self._prompts[index // (self._body.n or 1)]
        if isinstance(prompt, TokenPrompt):
            return self._generation.model.tokenizer.decode(prompt.ids)
        assert isinstance(prompt, TextPrompt)
        return prompt.text

    def _piece(self, index: int, text: str, tokens: Sequence[TokenInfo], reason: str | None) -> dict[str, Any]:
        logprobs = None if self._body.logprobs is None else self._logprobs(index, tokens)
        return {"index": index, "text": text, "logprobs": logprobs, "finish_reason": finish_reason(reason)}

    def _logprobs(self, index: int, tokens: Sequence[TokenInfo]) -> dict[str, Any]:
        """The lists of the older API; a dictionary has one place for tokens that read alike: the larger stays."""
        texts = [token.text for token in tokens]
        offset, offsets = self._offsets.get(index, 0), []
        for text in texts:
            offsets.append(offset)
            offset += len(text)
        self._offsets[index] = offset
        return {
            "tokens": texts,
            "token_logprobs": [token.log_probability for token in tokens],
            "top_logprobs": [_by_text(token) for token in tokens] if self._body.logprobs else None,
            "text_offset": offsets,
            "token_ids": [token.id for token in tokens],
            "token_bytes": [list(token.bytes) for token in tokens],
        }

    async def chunks(self, wants_usage: bool) -> AsyncIterator[bytes]:
        """The answer in pieces."""
        more = {"usage": None} if wants_usage else {}
        async for delta in self._generation:
            text = self._echo(delta.index) if delta.prompt else delta.text
            piece = self._piece(delta.index, text, delta.prompt or delta.tokens, delta.finish_reason)
            if delta.finish_reason is not None:
                piece["logprobs"] = None
            yield sse({**self._head, "choices": [piece], **more})
        if wants_usage:
            counted = self._generation.usage
            counts = usage(counted.prompt_tokens, counted.completion_tokens, counted.cached_tokens)
            yield sse({**self._head, "choices": [], "usage": counts})
        yield DONE


def _by_text(token: TokenInfo) -> dict[str, float] | None:
    """The most probable tokens and the chosen one, by text."""
    if token.log_probability is None:
        return None
    found: dict[str, float] = {}
    for each in (token, *token.top):
        assert each.log_probability is not None
        found[each.text] = max(each.log_probability, found.get(each.text, each.log_probability))
    return dict(sorted(found.items(), key=lambda pair: -pair[1]))
