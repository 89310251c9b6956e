"""The official `anthropic` client against a live server: every field, whole and streamed."""

import json

import anthropic
import pytest

HELLO = [{"role": "user", "content": "Hello"}]
ASKED = {"model": "chat", "max_tokens": 12, "messages": HELLO}
SCHEMA = {
    "type": "object",
    "properties": {"n": {"enum": [1, 2]}},
    "required": ["n"],
    "additionalProperties": False,
}
TOOL = {"name": "weather", "description": "Of a city.", "input_schema": SCHEMA}


@pytest.fixture(scope="module")
def client(live):
    with anthropic.Anthropic(base_url=live.url, api_key="any", max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def answer(client):
    """A greedy answer to compare others with."""
    return client.messages.create(**ASKED)


def text(message):
    return "".join(block.text for block in message.content if block.type == "text")


def test_a_message(answer):
    assert answer.id.startswith("msg_") and (answer.type, answer.role, answer.model) == (
        "message",
        "assistant",
        "chat",
    )
    assert (answer.stop_reason, answer.stop_sequence) == ("max_tokens", None)
    assert answer.usage.output_tokens == 12 and answer.usage.input_tokens > 0
    assert len(text(answer)) > 4


def test_raw_events_come_in_their_order(client, answer):
    events = list(client.messages.create(**ASKED, stream=True))
    names = [event.type for event in events]
    deltas = names.count("content_block_delta")
    assert names == [
        "message_start",
        "content_block_start",
        *["content_block_delta"] * deltas,
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert deltas > 1
    usage = answer.usage
    assert events[0].message.usage.input_tokens == usage.input_tokens + usage.cache_read_input_tokens
    assert events[-2].delta.stop_reason == "max_tokens" and events[-2].usage.output_tokens == 12


def test_the_stream_helper_gives_the_same_message(client, answer):
    with client.messages.stream(**ASKED) as stream:
        pieces = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert pieces == text(final) == text(answer)
    assert final.stop_reason == answer.stop_reason


@pytest.mark.anyio
async def test_the_asynchronous_client(live, answer):
    async with anthropic.AsyncAnthropic(base_url=live.url, api_key="any") as client:
        assert text(await client.messages.create(**ASKED)) == text(answer)
        async with client.messages.stream(**ASKED) as stream:
            assert text(await stream.get_final_message()) == text(answer)


@pytest.fixture
def anyio_backend():
    return "asyncio"


def test_conversations_with_systems_and_blocks(client):
    def ask(**fields):
        return text(client.messages.create(**(ASKED | fields)))

    block = [{"role": "user", "content": [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]}]
    assert ask(messages=block) == ask()
    cached = [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}]
    assert ask(system=cached) == ask(system="Be brief.") != ask()


def test_a_beginning_of_the_answer_is_continued(client, answer):
    begun = text(answer)[:4]
    turns = [*HELLO, {"role": "assistant", "content": begun}]
    found = client.messages.create(**(ASKED | {"messages": turns}))
    assert found.usage.input_tokens + found.usage.cache_read_input_tokens > answer.usage.input_tokens
    assert not text(found).startswith(begun)


@pytest.mark.parametrize("streams", [False, True])
def test_stop_sequences_are_left_out_and_named(client, answer, streams):
    stop = text(answer)[2:5]
    asked = ASKED | {"stop_sequences": ["never there", stop]}
    if streams:
        with client.messages.stream(**asked) as stream:
            found = stream.get_final_message()
    else:
        found = client.messages.create(**asked)
    assert text(found) == text(answer)[: text(answer).index(stop)]
    assert (found.stop_reason, found.stop_sequence) == ("stop_sequence", stop)


def test_the_settings_of_sampling(client, answer):
    def ask(**settings):  # which this client has no arguments for any more
        return text(client.messages.create(**ASKED, extra_body=settings))

    for greedy in ({"temperature": 0}, {"temperature": 1, "top_k": 1}, {"temperature": 1, "top_p": 0.0}):
        assert ask(**greedy) == text(answer)
    assert len({ask(temperature=2) for _ in range(3)}) > 1


def test_what_changes_nothing_is_taken(client, answer):
    beside = {"metadata": {"user_id": "me"}, "service_tier": "auto", "cache_control": {"type": "ephemeral"}}
    found = client.messages.create(**ASKED, **beside, speed="standard", thinking={"type": "disabled"})
    assert text(found) == text(answer) and found.usage.service_tier == "standard"


def test_a_conversation_is_only_read(client, answer):
    found = client.messages.create(**(ASKED | {"max_tokens": 0}))
    assert (text(found), found.stop_reason, found.usage.output_tokens) == ("", "max_tokens", 0)


def test_json_by_a_schema(client):
    wanted = {"format": {"type": "json_schema", "schema": SCHEMA}}
    found = client.messages.create(**(ASKED | {"max_tokens": 60}), output_config=wanted)
    assert json.loads(text(found))["n"] in (1, 2)


def test_a_tool_that_must_be_called(client):
    asked = ASKED | {"max_tokens": 200, "tools": [TOOL], "tool_choice": {"type": "any"}}
    found = client.messages.create(**asked)
    (use,) = [block for block in found.content if block.type == "tool_use"]
    assert use.name == "weather" and use.input["n"] in (1, 2) and found.stop_reason == "tool_use"
    with client.messages.stream(**asked) as stream:
        streamed = stream.get_final_message()
    (again,) = [block for block in streamed.content if block.type == "tool_use"]
    assert (again.name, again.input, streamed.stop_reason) == (use.name, use.input, "tool_use")
    result = {"type": "tool_result", "tool_use_id": use.id, "content": "22"}
    turns = [*HELLO, {"role": "assistant", "content": found.content}, {"role": "user", "content": [result]}]
    assert text(client.messages.create(**(ASKED | {"messages": turns, "tools": [TOOL]})))


def test_tools_that_must_not_be_called_change_nothing(client, answer):
    assert text(client.messages.create(**ASKED, tools=[TOOL], tool_choice={"type": "none"})) == text(answer)


def test_tokens_are_counted_as_they_are_read(client, answer):
    read = answer.usage.input_tokens + answer.usage.cache_read_input_tokens
    assert client.messages.count_tokens(model="chat", messages=HELLO).input_tokens == read
    with_tools = client.messages.count_tokens(model="chat", messages=HELLO, tools=[TOOL], system="Be brief.")
    assert with_tools.input_tokens > read


def test_models_are_listed_in_pages(client):
    assert [model.id for model in client.models.list(limit=1)] == ["chat", "plain", "translator"]
    found = client.models.retrieve("chat")
    assert (found.id, found.type, found.display_name) == ("chat", "model", "chat")


@pytest.mark.parametrize(
    ("fields", "error", "said"),
    [
        ({"model": "nobody"}, anthropic.NotFoundError, "nobody"),
        ({"max_tokens": -1}, anthropic.BadRequestError, "max_tokens"),
        ({"extra_body": {"nonsense": 1}}, anthropic.BadRequestError, "nonsense"),
        ({"messages": []}, anthropic.BadRequestError, "messages"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": "x"}}]}]},
            anthropic.BadRequestError,
            "image",
        ),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, anthropic.BadRequestError, "thinking"),
        (
            {"tool_choice": {"type": "tool", "name": "nothing"}, "tools": [TOOL]},
            anthropic.BadRequestError,
            "tool_choice",
        ),
        ({"stream": True, "extra_body": {"temperature": 7}}, anthropic.BadRequestError, "temperature"),
    ],
)
def test_mistakes_are_told_in_their_shape(client, fields, error, said):
    with pytest.raises(error, match=said) as caught:
        client.messages.create(**(ASKED | fields))
    body = caught.value.body
    assert body["type"] == "error" and body["request_id"].startswith("req_") == (caught.value.request_id is not None)


def test_the_key_may_come_in_their_header(keyed):
    good = anthropic.Anthropic(base_url=keyed.url, api_key="secret", max_retries=0)
    assert good.messages.count_tokens(model="chat", messages=HELLO).input_tokens > 0
    bearer = anthropic.Anthropic(base_url=keyed.url, auth_token="secret", max_retries=0)
    assert bearer.messages.count_tokens(model="chat", messages=HELLO).input_tokens > 0
    with pytest.raises(anthropic.AuthenticationError) as caught:
        anthropic.Anthropic(base_url=keyed.url, api_key="wrong", max_retries=0).messages.create(**ASKED)
    assert caught.value.body["error"]["type"] == "authentication_error"
