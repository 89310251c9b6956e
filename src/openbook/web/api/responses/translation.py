"""From the items of a request to the conversation that chat templates read."""

import json
from collections.abc import Sequence
from typing import Any

from openbook.web.api.conversation import Turn, call_turn, joined, tool
from openbook.web.api.responses.bodies import (
    FunctionCallItem,
    FunctionOutputItem,
    InputItem,
    MessageItem,
    ObjectFormat,
    OneFunction,
    ResponsesBody,
    SchemaFormat,
    TextPart,
)
from openbook.web.serve.errors import bad_request
from openbook.web.serve.grammar import OutputFormat
from openbook.web.serve.prompts import ChatPrompt
from openbook.web.serve.request import GenerationRequest

SETTINGS = {
    "max_output_tokens": "max_tokens",
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "min_p": "min_p",
    "repetition_penalty": "repetition_penalty",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
    "seed": "seed",
}
"""Their fields and our settings."""


def generation_request(body: ResponsesBody) -> GenerationRequest:
    """What to generate for a request.

    Raises:
        ApiError: the arguments of a function call are no JSON object.
    """
    given = {ours: getattr(body, theirs) for theirs, ours in SETTINGS.items() if getattr(body, theirs) is not None}
    return GenerationRequest(
        model=body.model,
        prompts=[chat_prompt(body)],
        settings=given,
        logprobs=(body.top_logprobs or 0) if wants_logprobs(body) else None,
        format=output_format(body),
        fields={"max_tokens": "max_output_tokens"},
    )


def wants_logprobs(body: ResponsesBody) -> bool:
    """Whether the answer has log-probabilities."""
    return "message.output_text.logprobs" in (body.include or ()) or bool(body.top_logprobs)


def output_format(body: ResponsesBody) -> OutputFormat | None:
    """What the answer must look like; None: any text."""
    wanted = body.text.format if body.text else None
    if isinstance(wanted, SchemaFormat):
        return OutputFormat.json_schema(wanted.schema_, "text.format")
    return OutputFormat.json_object("text.format") if isinstance(wanted, ObjectFormat) else None


def chat_prompt(body: ResponsesBody) -> ChatPrompt:
    """The conversation as chat templates read it.

    Raises:
        ApiError: the arguments of a function call are no JSON object.
    """
    system = [{"role": "system", "content": body.instructions}] if body.instructions else []
    choice = body.tool_choice
    named = choice.name if isinstance(choice, OneFunction) else choice or "auto"
    return ChatPrompt(
        messages=joined([*system, *_turns(body.input)]),
        tools=[tool(each.name, each.description, each.parameters, each.strict) for each in body.tools or ()],
        tool_choice=named,
        parallel_tool_calls=body.parallel_tool_calls is not False,
    )


def _turns(items: str | Sequence[InputItem]) -> list[Turn]:
    if isinstance(items, str):
        return [{"role": "user", "content": items}]
    return joined(_turn(item, f"input.{number}") for number, item in enumerate(items))


def _turn(item: InputItem, field: str) -> Turn:
    if isinstance(item, MessageItem):
        return {"role": "system" if item.role == "developer" else item.role, "content": _text(item.content)}
    if isinstance(item, FunctionOutputItem):
        return {"role": "tool", "tool_call_id": item.call_id, "content": _text(item.output)}
    return call_turn([(item.call_id, item.name, _arguments(item, f"{field}.arguments"))])


def _text(content: str | Sequence[TextPart]) -> str:
    return content if isinstance(content, str) else "".join(part.text for part in content)


def _arguments(item: FunctionCallItem, field: str) -> dict[str, Any]:
    try:
        arguments = json.loads(item.arguments)
    except (ValueError, RecursionError):
        arguments = None
    if not isinstance(arguments, dict):
        raise bad_request(f"{field}: give a JSON object as text", field)
    return arguments
