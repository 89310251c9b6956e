"""The official `openai` client's responses against a live server: every field, whole and streamed."""

import json

import openai
import pytest

ASKED = {"model": "chat", "input": "Hello", "max_output_tokens": 12, "store": False}
SCHEMA = {
    "type": "object",
    "properties": {"n": {"enum": [1, 2]}},
    "required": ["n"],
    "additionalProperties": False,
}
TOOL = {"type": "function", "name": "weather", "description": "Of a city.", "parameters": SCHEMA, "strict": False}


@pytest.fixture(scope="module")
def client(live):
    with openai.OpenAI(base_url=f"{live.url}/v1", api_key="any", max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def answer(client):
    """A greedy answer to compare others with."""
    return client.responses.create(**ASKED)


def test_a_response(answer):
    assert answer.id.startswith("resp_") and answer.object == "response" and answer.model == "chat"
    assert answer.status == "incomplete" and answer.incomplete_details.reason == "max_output_tokens"
    (item,) = answer.output
    assert item.id.startswith("msg_") and item.role == "assistant" and len(answer.output_text) > 4
    usage = answer.usage
    assert usage.output_tokens == 12 and usage.total_tokens == usage.input_tokens + 12
    assert (answer.temperature, answer.max_output_tokens, answer.store) == (0, 12, False)


def test_the_events_of_a_stream(client, answer):
    events = list(client.responses.create(**ASKED, stream=True, stream_options={"include_obfuscation": False}))
    names = [event.type.removeprefix("response.") for event in events]
    deltas = names.count("output_text.delta")
    assert deltas > 1
    assert names == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        *["output_text.delta"] * deltas,
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "incomplete",
    ]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    pieces = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert pieces == events[-1].response.output_text == answer.output_text


def test_the_stream_helper_gives_the_same_response(client, answer):
    with client.responses.stream(**ASKED) as stream:
        assert "".join(e.delta for e in stream if e.type == "response.output_text.delta") == answer.output_text


def test_conversations(client, answer):
    def ask(**fields):
        return client.responses.create(**(ASKED | fields)).output_text

    parts = [{"type": "input_text", "text": "Hel"}, {"type": "input_text", "text": "lo"}]
    assert ask(input=[{"role": "user", "content": parts}]) == answer.output_text
    developer = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
    assert ask(input=developer) == ask(instructions="Be brief.") != answer.output_text
    again = [{"role": "user", "content": "Hello"}, *answer.output, {"role": "user", "content": "More"}]
    assert ask(input=again)


def test_the_settings_of_sampling(client, answer):
    for greedy in (
        {"temperature": 0},
        {"temperature": 1, "top_p": 0.0},
        {"temperature": 1, "extra_body": {"top_k": 1}},
    ):
        assert client.responses.create(**ASKED, **greedy).output_text == answer.output_text
    seeded = {"temperature": 2, "extra_body": {"seed": 5}}
    one, same = (client.responses.create(**ASKED, **seeded).output_text for _ in range(2))
    other = client.responses.create(**ASKED, temperature=2, extra_body={"seed": 6}).output_text
    assert one == same != other
    longer = ASKED | {"max_output_tokens": 100}  # without penalties it repeats itself
    penalised = {"presence_penalty": 2, "frequency_penalty": 2, "repetition_penalty": 1.5, "min_p": 0.1}
    plain, other = (client.responses.create(**longer, extra_body=extra) for extra in ({}, penalised))
    assert plain.output_text != other.output_text


def test_logprobs(client, answer):
    found = client.responses.create(**ASKED, include=["message.output_text.logprobs"], top_logprobs=2)
    logprobs = found.output[0].content[0].logprobs
    assert len(logprobs) == 12 and all(each.logprob <= 0 and len(each.top_logprobs) == 2 for each in logprobs)
    assert found.output_text == answer.output_text
    stream = client.responses.create(**ASKED, top_logprobs=2, stream=True)
    streamed = [each for event in stream if event.type == "response.output_text.delta" for each in event.logprobs]
    assert [each.logprob for each in streamed] == [each.logprob for each in logprobs]


@pytest.mark.parametrize(
    "wanted", [{"type": "json_schema", "name": "number", "schema": SCHEMA}, {"type": "json_object"}, {"type": "text"}]
)
def test_formats(client, wanted):
    found = client.responses.create(**(ASKED | {"max_output_tokens": 80}), text={"format": wanted})
    assert found.text.format.type == wanted["type"]
    if wanted["type"] == "json_schema" and found.status == "completed":
        assert isinstance(json.loads(found.output_text)["n"], int)
    if wanted["type"] == "json_object":
        assert found.output_text.lstrip().startswith("{")


def test_a_function_that_must_be_called(client):
    asked = ASKED | {"max_output_tokens": 200, "tools": [TOOL], "tool_choice": "required"}
    found = client.responses.create(**asked)
    (call,) = [item for item in found.output if item.type == "function_call"]
    assert call.name == "weather" and isinstance(json.loads(call.arguments)["n"], int)
    assert found.status == "completed"
    *_, last = client.responses.create(**asked, stream=True)
    (again,) = [item for item in last.response.output if item.type == "function_call"]
    assert (again.name, again.arguments) == (call.name, call.arguments)
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "22"}
    turns = [{"role": "user", "content": "Hello"}, call, result]
    assert client.responses.create(**(ASKED | {"input": turns, "tools": [TOOL]})).output


@pytest.mark.parametrize(
    ("fields", "error", "said"),
    [
        ({"model": "nobody"}, openai.NotFoundError, "nobody"),
        ({"previous_response_id": "resp_1"}, openai.BadRequestError, "previous_response_id"),
        ({"store": True}, openai.BadRequestError, "store"),
        ({"background": True}, openai.BadRequestError, "background"),
        ({"truncation": "auto"}, openai.BadRequestError, "truncation"),
        ({"reasoning": {"effort": "high"}}, openai.BadRequestError, "reasoning"),
        ({"tools": [{"type": "web_search"}]}, openai.BadRequestError, "tools"),
        ({"extra_body": {"nonsense": 1}}, openai.BadRequestError, "nonsense"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image"}]}]},
            openai.BadRequestError,
            "input.0.content.0.type",
        ),
        ({"stream": True, "temperature": 7}, openai.BadRequestError, "temperature"),
    ],
)
def test_mistakes_name_the_field(client, fields, error, said):
    with pytest.raises(error, match=said):
        client.responses.create(**(ASKED | fields))
