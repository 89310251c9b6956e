"""What clients of Anthropic's API send: https://docs.anthropic.com/en/api/messages."""

from typing import Annotated, Any, Literal

from pydantic import Field

from openbook.web.serve.bodies import MANY, Body

Name = Annotated[str, Field(min_length=1, max_length=256)]
Stop = Annotated[str, Field(min_length=1, max_length=1000)]


class CacheControl(Body):
    """Asks to keep the prompt up to here for later requests, as is done with every prompt."""

    type: Literal["ephemeral"]
    ttl: Literal["5m", "1h"] | None = None


class Block(Body):
    """What all blocks have."""

    cache_control: CacheControl | None = None


class TextBlock(Block):
    """A part of a message that is text."""

    type: Literal["text"]
    text: str
    citations: Annotated[list[Any], Field(max_length=0)] | None = None


class ToolUseBlock(Block):
    """A call of a tool that the model asked for earlier."""

    type: Literal["tool_use"]
    id: Name
    name: Name
    input: dict[str, Any]


class ToolResultBlock(Block):
    """What a called tool answered."""

    type: Literal["tool_result"]
    tool_use_id: Name
    content: str | Annotated[list[TextBlock], Field(max_length=MANY)] = ""
    is_error: bool = False


ContentBlock = Annotated[TextBlock | ToolUseBlock | ToolResultBlock, Field(discriminator="type")]


class Message(Body):
    """A turn, or a word of the system between turns; an answer goes on from a last turn of the model."""

    role: Literal["user", "assistant", "system"]
    content: str | Annotated[list[ContentBlock], Field(min_length=1, max_length=MANY)]


class Tool(Body):
    """A tool that the model may call."""

    type: Literal["custom"] | None = None
    name: Name
    description: str = ""
    input_schema: dict[str, Any]
    strict: bool | None = None
    cache_control: CacheControl | None = None


class AnyToolChoice(Body):
    """Whether to call tools: as the model likes, one at least, or none."""

    type: Literal["auto", "any", "none"]
    disable_parallel_tool_use: bool = False


class OneToolChoice(Body):
    """Call this tool."""

    type: Literal["tool"]
    name: Name
    disable_parallel_tool_use: bool = False


ToolChoice = Annotated[AnyToolChoice | OneToolChoice, Field(discriminator="type")]


class NoThinking(Body):
    """No thinking apart from the answer: what the models here do anyway."""

    type: Literal["disabled"]


class JsonSchemaFormat(Body):
    """An answer that is JSON of this schema."""

    type: Literal["json_schema"]
    schema_: Annotated[dict[str, Any], Field(alias="schema")]


class OutputConfig(Body):
    """What the answer looks like; there are no degrees of effort."""

    format: JsonSchemaFormat | None = None
    effort: None = None


class Metadata(Body):
    """Whom the request is for; it changes nothing in the answer and is not kept."""

    user_id: Annotated[str, Field(max_length=512)] | None = None


class Conversation(Body):
    """What is counted, and what is answered."""

    model: Name
    messages: Annotated[list[Message], Field(min_length=1, max_length=MANY)]
    system: str | Annotated[list[TextBlock], Field(max_length=MANY)] | None = None
    tools: Annotated[list[Tool], Field(max_length=MANY)] | None = None
    tool_choice: ToolChoice | None = None
    thinking: NoThinking | None = None
    output_config: OutputConfig | None = None
    cache_control: CacheControl | None = None


class MessagesBody(Conversation):
    """A conversation to answer; with `max_tokens` 0 it is only read, so that it need not be read again."""

    max_tokens: Annotated[int, Field(ge=0, le=2**31)]
    stream: bool = False
    stop_sequences: Annotated[list[Stop], Field(max_length=100)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=1, le=2**24)] | None = None
    metadata: Metadata | None = None
    service_tier: Literal["auto", "standard_only"] | None = None
    speed: Literal["standard"] | None = None


class CountBody(Conversation):
    """A conversation whose tokens are to be counted."""
