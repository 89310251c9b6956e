"""Between Anthropic's messages and the conversations that chat templates read."""

import json
from collections.abc import Sequence
from typing import Any

from openbook.web.api.anthropic.bodies import (
    ContentBlock,
    Conversation,
    MessagesBody,
    OneToolChoice,
    TextBlock,
    ToolResultBlock,
    ToolUseBlock,
)
from openbook.web.api.conversation import Turn, call_turn, joined, tool
from openbook.web.serve.errors import bad_request
from openbook.web.serve.grammar import OutputFormat
from openbook.web.serve.prompts import ChatPrompt
from openbook.web.serve.request import GenerationRequest

TOOL_CHOICES = {"auto": "auto", "any": "required", "none": "none"}
SETTINGS = {
    "max_tokens": "max_tokens",
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "stop_sequences": "stop",
}
"""Their fields and our settings."""


def generation_request(body: MessagesBody) -> GenerationRequest:
    """What to generate for a request.

    Raises:
        ApiError: a block stands in a turn of the other side, or the schema is none.
    """
    given = {ours: getattr(body, theirs) for theirs, ours in SETTINGS.items() if getattr(body, theirs) is not None}
    wanted = body.output_config.format if body.output_config else None
    return GenerationRequest(
        model=body.model,
        prompts=[chat_prompt(body)],
        settings=given,
        format=None if wanted is None else OutputFormat.json_schema(wanted.schema_, "output_config.format"),
        fields={"stop": "stop_sequences"},
    )


def chat_prompt(body: Conversation) -> ChatPrompt:
    """The conversation as chat templates read it; it ends with the answer's beginning if its last message is one.

    Raises:
        ApiError: a block stands in a turn of the other side.
    """
    system = body.system if isinstance(body.system, str) else "\n\n".join(block.text for block in body.system or ())
    turns: list[Turn] = [{"role": "system", "content": system}] if system else []
    for number, message in enumerate(body.messages):
        blocks = message.content
        given = [TextBlock(type="text", text=blocks)] if isinstance(blocks, str) else blocks
        turns += TURNS[message.role](given, f"messages.{number}.content")
    choice, named = "auto", body.tool_choice
    if named is not None:
        choice = named.name if isinstance(named, OneToolChoice) else TOOL_CHOICES[named.type]
    return ChatPrompt(
        messages=joined(turns),
        tools=[tool(each.name, each.description, each.input_schema, each.strict) for each in body.tools or ()],
        tool_choice=choice,
        parallel_tool_calls=named is None or not named.disable_parallel_tool_use,
        continue_final=body.messages[-1].role == "assistant",
    )


def _user_turns(blocks: Sequence[ContentBlock], field: str) -> list[Turn]:
    """What the person wrote and what tools answered, in order."""
    turns: list[Turn] = []
    for block in blocks:
        if isinstance(block, TextBlock):
            if not turns or turns[-1]["role"] != "user":
                turns.append({"role": "user", "content": ""})
            turns[-1]["content"] += block.text
        elif isinstance(block, ToolResultBlock):
            text = block.content if isinstance(block.content, str) else _text(block.content)
            said = f"Error: {text}" if block.is_error else text
            turns.append({"role": "tool", "tool_call_id": block.tool_use_id, "content": said})
        else:
            raise bad_request(f"{field}: tool_use belongs to the assistant's turns", field)
    return turns


def _assistant_turns(blocks: Sequence[ContentBlock], field: str) -> list[Turn]:
    """What the model wrote, with the tools that it called: one turn."""
    if any(isinstance(block, ToolResultBlock) for block in blocks):
        raise bad_request(f"{field}: tool_result belongs to the user's turns", field)
    calls = [(block.id, block.name, block.input) for block in blocks if isinstance(block, ToolUseBlock)]
    return [call_turn(calls, _text(blocks)) if calls else {"role": "assistant", "content": _text(blocks)}]


def _system_turns(blocks: Sequence[ContentBlock], field: str) -> list[Turn]:
    if not all(isinstance(block, TextBlock) for block in blocks):
        raise bad_request(f"{field}: the system says text alone", field)
    return [{"role": "system", "content": _text(blocks)}]


TURNS = {"user": _user_turns, "assistant": _assistant_turns, "system": _system_turns}


def _text(blocks: Sequence[ContentBlock]) -> str:
    return "".join(block.text for block in blocks if isinstance(block, TextBlock))


def tool_use(call_id: str, name: str, arguments: str) -> dict[str, Any]:
    """A tool call of an answer as a block."""
    return {"type": "tool_use", "id": call_id, "name": name, "input": json.loads(arguments)}
