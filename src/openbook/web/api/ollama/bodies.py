"""What clients of Ollama's API send: https://docs.ollama.com/api."""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from openbook.web.serve.bodies import MANY, Body

Name = Annotated[str, Field(min_length=1, max_length=256)]
Text = Annotated[str, Field(max_length=0)]
"""A text of which only the empty one means anything here."""
Stop = Annotated[str, Field(min_length=1, max_length=1000)]

UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")
LONGEST = 10 * 365 * 86400.0
"""Seconds for which a model can be asked to stay."""


def seconds(duration: str | float) -> float | None:
    """The seconds of a duration such as 300 or "1h30m"; None: for good (any negative one).

    Raises:
        ValueError: it is no duration.
    """
    if isinstance(duration, int | float):
        found = float(duration)
    else:
        text = duration.removeprefix("-")
        if not re.fullmatch(f"(?:{_PART.pattern})+", text) and text != "0":
            raise ValueError('give a duration such as "5m", "1h30m", 300 (seconds), 0, or -1 for good')
        found = sum(float(number) * UNITS[unit] for number, unit in _PART.findall(text))
        found = -found if text != duration else found
    return None if found < 0 or found > LONGEST else found


def _checked(duration: str | float) -> str | float:
    seconds(duration)
    return duration


KeepAlive = Annotated[
    Annotated[str, Field(max_length=40)] | float, AfterValidator(_checked), Field(description="a duration")
]


class Function(Body):
    """A function that the model asked for."""

    name: Name
    arguments: dict[str, Any] | None = None
    index: int | None = None


class ToolCall(Body):
    """A call in an earlier turn of the model."""

    function: Function
    id: Name | None = None
    type: Literal["function"] | None = None


class Message(Body):
    """A turn of a conversation."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str | None = None
    thinking: Text | None = None
    images: Annotated[list[Any], Field(max_length=0)] | None = None
    tool_calls: Annotated[list[ToolCall], Field(max_length=MANY)] | None = None
    tool_name: Name | None = None
    tool_call_id: Name | None = None


class ToolFunction(Body):
    """A function that the model may call."""

    name: Name
    description: str = ""
    parameters: dict[str, Any] | None = None


class Tool(Body):
    """A tool that the model may call."""

    type: Literal["function"] = "function"
    function: ToolFunction


class Options(Body):
    """How to choose tokens. What belongs to the server, such as num_gpu, is set where it is started.

    `top_k` 0 is off; `num_predict` below 0 writes until the model ends or its context does; `seed` −1 draws one;
    `num_ctx` is how many tokens prompt and answer may have together.
    """

    num_predict: Annotated[int, Field(ge=-2, le=2**31)] | None = None
    num_ctx: Annotated[int, Field(ge=1, le=2**31)] | None = None
    seed: Annotated[int, Field(ge=-1, le=2**63 - 1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=100)] | None = None
    top_k: Annotated[int, Field(ge=0, le=2**24)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    typical_p: Annotated[float, Field(ge=1, le=1)] | None = None
    repeat_penalty: Annotated[float, Field(ge=0.01, le=100)] | None = None
    repeat_last_n: Literal[-1] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    stop: Stop | Annotated[list[Stop], Field(max_length=100)] | None = None


class Asked(Body):
    """What chat and generate have in common."""

    model: Name
    stream: bool | None = None
    format: Literal["", "json"] | dict[str, Any] | None = None
    options: Options | None = None
    keep_alive: KeepAlive | None = None
    think: Literal[False] | None = None
    truncate: Literal[False] | None = None
    shift: Literal[False] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None


class ChatBody(Asked):
    """A conversation to answer; without messages the model is loaded, or with keep_alive 0 unloaded."""

    messages: Annotated[list[Message], Field(max_length=MANY)] | None = None
    tools: Annotated[list[Tool], Field(max_length=MANY)] | None = None


class GenerateBody(Asked):
    """A prompt to answer; without one the model is loaded, or with keep_alive 0 unloaded."""

    prompt: str = ""
    system: str = ""
    raw: bool | None = None
    suffix: Text | None = None
    template: Text | None = None
    images: Annotated[list[Any], Field(max_length=0)] | None = None
    context: Annotated[list[int], Field(max_length=0)] | None = None


class ShowBody(Body):
    """Which model to describe; `name` is what older clients say."""

    model: Name | None = None
    name: Name | None = None
    verbose: Literal[False] | None = None
