"""From Ollama's requests to ours."""

from collections.abc import Sequence
from typing import Any

from openbook.web.api.conversation import Turn, call_turn, tool
from openbook.web.api.ollama.bodies import Asked, GenerateBody, Message, Options, Tool
from openbook.web.serve.grammar import OutputFormat
from openbook.web.serve.prompts import ChatPrompt, Prompt, TextPrompt
from openbook.web.serve.request import GenerationRequest

SETTINGS = {
    "temperature": "temperature",
    "top_p": "top_p",
    "min_p": "min_p",
    "repeat_penalty": "repetition_penalty",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
}
"""Their options and our settings, where both mean the same."""
FIELDS = {ours: f"options.{theirs}" for theirs, ours in SETTINGS.items()} | {
    "top_k": "options.top_k",
    "seed": "options.seed",
    "stop": "options.stop",
    "max_tokens": "options.num_predict",
}


def generation_request(body: Asked, prompt: Prompt) -> GenerationRequest:
    """What to generate for a prompt."""
    return GenerationRequest(
        model=body.model,
        prompts=[prompt],
        settings=settings(body.options or Options()),
        logprobs=(body.top_logprobs or 0) if body.logprobs else None,
        format=output_format(body),
        fields=FIELDS,
    )


def settings(options: Options) -> dict[str, Any]:
    """Our settings for the options that were given."""
    given = {ours: getattr(options, name) for name, ours in SETTINGS.items() if getattr(options, name) is not None}
    if options.top_k is not None:
        given["top_k"] = options.top_k or None
    if options.seed is not None and options.seed >= 0:
        given["seed"] = options.seed
    if options.stop is not None:
        given["stop"] = [options.stop] if isinstance(options.stop, str) else options.stop
    if options.num_predict is not None:
        given["max_tokens"] = options.num_predict if options.num_predict >= 0 else 2**31
    return given


def output_format(body: Asked) -> OutputFormat | None:
    """What the answer must look like; None: any text."""
    if isinstance(body.format, dict):
        return OutputFormat.json_schema(body.format, "format")
    return OutputFormat.json_object("format") if body.format == "json" else None


def chat_prompt(messages: Sequence[Message], tools: Sequence[Tool]) -> ChatPrompt:
    """The conversation as chat templates read it."""
    last, functions = messages[-1], [each.function for each in tools]
    return ChatPrompt(
        messages=_named([_turn(each) for each in messages]),
        tools=[tool(each.name, each.description, each.parameters) for each in functions],
        continue_final=last.role == "assistant" and not last.tool_calls,
    )


def generate_prompt(body: GenerateBody, has_template: bool) -> Prompt:
    """The prompt as it is if `raw` or without a template, else as a turn of a conversation."""
    if body.raw or not has_template:
        return TextPrompt(
            body.system + body.prompt if body.raw else "\n\n".join(filter(None, (body.system, body.prompt)))
        )
    system = [{"role": "system", "content": body.system}] if body.system else []
    return ChatPrompt(messages=[*system, {"role": "user", "content": body.prompt}])


def _turn(message: Message) -> Turn:
    text = message.content or ""
    if message.tool_calls:
        calls = enumerate(message.tool_calls)
        return call_turn(
            [
                (each.id or f"call_{number}", each.function.name, each.function.arguments or {})
                for number, each in calls
            ],
            text,
        )
    named = {"name": message.tool_name, "tool_call_id": message.tool_call_id}
    return {"role": message.role, "content": text} | {name: each for name, each in named.items() if each is not None}


def _named(messages: list[Turn]) -> list[Turn]:
    """Each tool's answer with the id of a call, which some templates want and these clients need not send."""
    waiting: list[str] = []
    for message in messages:
        if "tool_calls" in message:
            waiting = [call["id"] for call in message["tool_calls"]]
        elif message["role"] == "tool":
            first = waiting.pop(0) if waiting else "call_0"
            message.setdefault("tool_call_id", first)
    return messages
