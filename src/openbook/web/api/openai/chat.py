"""/v1/chat/completions: conversations are answered."""

from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from pydantic import Field
from starlette.responses import Response

from openbook.web.api.openai.errors import DONE
from openbook.web.api.openai.fields import Common, Name, Text, finish_reason, usage
from openbook.web.serve.bodies import MANY, Body
from openbook.web.serve.choices import Delta, TokenInfo
from openbook.web.serve.errors import bad_request
from openbook.web.serve.generation import Choice, Generation, Result
from openbook.web.serve.json_bytes import sse
from openbook.web.serve.prompts import ChatPrompt
from openbook.web.serve.request import GenerationRequest
from openbook.web.serve.responses import stream, whole
from openbook.web.serve.service import service_of
from openbook.web.serve.tool_calls import ToolCall

router = APIRouter()

LEAST = -9999.0
"""What stands for the log-probability of what is all but impossible; JSON has no infinity."""
MAX_TOOLS = 128


class TextPart(Body):
    """A part of a message."""

    type: Literal["text"]
    text: Text


Content = Text | Annotated[list[TextPart], Field(max_length=MANY)]


class CalledFunction(Body):
    """A tool's name and arguments, which are JSON."""

    name: Name
    arguments: Text


class Call(Body):
    """A call that an earlier answer asked for."""

    id: Name
    type: Literal["function"] = "function"
    function: CalledFunction


class SpokenMessage(Body):
    """What the system or the user says."""

    role: Literal["system", "developer", "user"]
    content: Content
    name: Name | None = None


class AssistantMessage(Body):
    """An earlier answer."""

    role: Literal["assistant"]
    content: Content | None = None
    tool_calls: Annotated[list[Call], Field(max_length=MAX_TOOLS)] | None = None
    name: Name | None = None
    refusal: None = None


class ToolMessage(Body):
    """What a tool gave back."""

    role: Literal["tool"]
    content: Content
    tool_call_id: Name


Message = Annotated[SpokenMessage | AssistantMessage | ToolMessage, Field(discriminator="role")]


class Function(Body):
    """A tool."""

    name: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[\w.-]+$")]
    description: Text | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(Body):
    """A tool that the model may call."""

    type: Literal["function"]
    function: Function


class NamedFunction(Body):
    """The name of a tool."""

    name: Name


class ToolChoice(Body):
    """The tool that must be called."""

    type: Literal["function"]
    function: NamedFunction


class ChatBody(Common):
    """A conversation to answer."""

    messages: Annotated[list[Message], Field(min_length=1, max_length=MANY)]
    max_tokens: Annotated[int, Field(ge=1, le=2**31)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1, le=2**31)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=100)] | None = None
    tools: Annotated[list[Tool], Field(max_length=MAX_TOOLS)] | None = None
    tool_choice: Literal["none", "auto", "required"] | ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    modalities: list[Literal["text"]] | None = None
    continue_final_message: bool | None = None
    add_generation_prompt: bool | None = None
    chat_template_kwargs: Annotated[dict[str, Any], Field(max_length=64)] | None = None

    def limits(self) -> dict[str, int]:
        """The limit of the answer.

        Raises:
            ApiError: it is given twice, and differs.
        """
        given = {value for value in (self.max_tokens, self.max_completion_tokens) if value is not None}
        if len(given) > 1:
            raise bad_request("max_tokens and max_completion_tokens differ; give one of them", "max_completion_tokens")
        return {"max_tokens": given.pop()} if given else {}

    def tokens_shown(self) -> int | None:
        """How many of the most probable tokens are given with each token; None: no log-probabilities at all.

        Raises:
            ApiError: `top_logprobs` without `logprobs`.
        """
        if not self.logprobs:
            if self.top_logprobs is not None:
                raise bad_request("top_logprobs: needs logprobs, true; set it, or leave this out", "top_logprobs")
            return None
        return self.top_logprobs or 0

    def conversation(self) -> ChatPrompt:
        """The conversation as templates read it."""
        continues = bool(self.continue_final_message)
        if self.add_generation_prompt is not None and self.add_generation_prompt == continues:
            raise bad_request(
                "add_generation_prompt: an answer begins, or with continue_final_message, true, goes on; give one",
                "add_generation_prompt",
            )
        choice = self.tool_choice
        variables = self.chat_template_kwargs or {}
        for name in ("messages", "tools", "documents", "add_generation_prompt"):
            if name in variables:
                raise bad_request(f"chat_template_kwargs.{name}: give it as a field of the request", name)
        return ChatPrompt(
            messages=[_as_read(message) for message in self.messages],
            tools=[tool.model_dump(exclude_none=True) for tool in self.tools or ()],
            tool_choice=choice.function.name if isinstance(choice, ToolChoice) else choice or "auto",
            parallel_tool_calls=self.parallel_tool_calls is not False,
            continue_final=continues,
            variables=variables,
        )


@router.post("/v1/chat/completions")
async def chat(body: ChatBody, request: Request) -> Response:
    """Conversations are answered."""
    asked = GenerationRequest(
        model=body.model,
        prompts=[body.conversation()],
        settings=body.settings() | body.limits(),
        n=body.samples,
        logprobs=body.tokens_shown(),
        format=body.output_format(),
        languages=body.languages,
        fields={"max_tokens": "max_completion_tokens"} if body.max_tokens is None else {},
    )
    wants_usage = body.wants_usage
    generation = await service_of(request).begin(asked, request)
    writer = _Writer(generation, body.logprobs is True, body.n or 1)
    if body.stream:
        return stream(request, generation, writer.chunks(wants_usage))
    return await whole(request, generation, writer.answer)


def _as_read(message: SpokenMessage | AssistantMessage | ToolMessage) -> dict[str, Any]:
    """A message with its text in one piece; templates know no developers."""
    fields = message.model_dump(exclude_none=True)
    if isinstance(message.content, list):
        fields["content"] = "".join(part.text for part in message.content)
    if fields["role"] == "assistant":
        fields.setdefault("content", "")
    if fields["role"] == "developer":
        fields["role"] = "system"
    return fields


class _Writer:
    """Writes the answer to one request."""

    def __init__(self, generation: Generation, with_tokens: bool, choices: int) -> None:
        self._generation, self._with_tokens, self._choices = generation, with_tokens, choices
        self._head = {
            "id": f"chatcmpl-{generation.id}",
            "object": "chat.completion",
            "created": generation.created,
            "model": generation.model.id,
            "system_fingerprint": generation.model.fingerprint,
            "seed": generation.seed,
        }

    def answer(self, result: Result) -> dict[str, Any]:
        """The whole answer."""
        counted = result.usage
        return {
            **self._head,
            "choices": [self._choice(choice) for choice in result.choices],
            "usage": usage(counted.prompt_tokens, counted.completion_tokens, counted.cached_tokens),
        }

    def _choice(self, choice: Choice) -> dict[str, Any]:
        calls = [_call(call) for call in choice.tool_calls]
        content = None if calls and not choice.text.strip() else choice.text
        message = {"role": "assistant", "content": content, "refusal": None}
        return {
            "index": choice.index,
            "message": message | ({"tool_calls": calls} if calls else {}),
            "logprobs": self._logprobs(choice.tokens),
            "finish_reason": finish_reason(choice.finish_reason),
        }

    async def chunks(self, wants_usage: bool) -> AsyncIterator[bytes]:
        """The answer in pieces: who speaks, what is said, and why it ends, each in a chunk of its own."""
        head = self._head | {"object": "chat.completion.chunk"}
        more = {"usage": None} if wants_usage else {}

        def chunk(index: int, delta: dict[str, Any], logprobs: Any = None, reason: str | None = None) -> bytes:
            piece = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": reason}
            return sse({**head, "choices": [piece], **more})

        for index in range(self._choices):
            yield chunk(index, {"role": "assistant", "content": "", "refusal": None})
        async for delta in self._generation:
            yield chunk(delta.index, *self._said(delta))
        if wants_usage:
            counted = self._generation.usage
            counts = usage(counted.prompt_tokens, counted.completion_tokens, counted.cached_tokens)
            yield sse({**head, "choices": [], "usage": counts})
        yield DONE

    def _said(self, delta: Delta) -> tuple[dict[str, Any], Any, str | None]:
        if delta.tool_call is not None:
            return {"tool_calls": [{"index": delta.tool_call.index, **_call(delta.tool_call)}]}, None, None
        if delta.finish_reason is not None:
            return {}, None, finish_reason(delta.finish_reason)
        return {"content": delta.text}, self._logprobs(delta.tokens), None

    def _logprobs(self, tokens: Sequence[TokenInfo]) -> dict[str, Any] | None:
        if not self._with_tokens:
            return None
        content = [_scored(token) | {"top_logprobs": [_scored(each) for each in token.top]} for token in tokens]
        return {"content": content, "refusal": None}


def _call(call: ToolCall) -> dict[str, Any]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def _scored(token: TokenInfo) -> dict[str, Any]:
    known = LEAST if token.log_probability is None else max(token.log_probability, LEAST)
    return {"token": token.text, "logprob": known, "bytes": list(token.bytes), "id": token.id}
