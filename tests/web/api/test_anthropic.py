"""Anthropic's messages: what a request means to a chat template, and the events of an answer in their order."""

import json

import pytest
from fake_generation import Generation, call, collected, events_of, generations
from hypothesis import given
from pydantic import ValidationError

from openbook.web.api.anthropic.answers import events, message
from openbook.web.api.anthropic.bodies import MessagesBody
from openbook.web.api.anthropic.models import models_page
from openbook.web.api.anthropic.routes import error_body
from openbook.web.api.anthropic.translation import chat_prompt, generation_request
from openbook.web.serve.choices import Delta
from openbook.web.serve.errors import ApiError

ASKED = {"model": "tiny", "max_tokens": 8, "messages": [{"role": "user", "content": "Hello"}]}


def body(**fields):
    return MessagesBody.model_validate(ASKED | fields)


def blocks(*texts):
    return [{"type": "text", "text": text} for text in texts]


def test_texts_and_blocks_become_a_conversation():
    prompt = chat_prompt(
        body(
            system=blocks("Be brief.", "Be kind."),
            messages=[
                {"role": "user", "content": blocks("What is", " this?")},
                {"role": "user", "content": "And that?"},
                {"role": "assistant", "content": "A book."},
                {"role": "system", "content": blocks("Hurry.")},
                {"role": "user", "content": [{**blocks("Which?")[0], "cache_control": {"type": "ephemeral"}}]},
            ],
        )
    )
    assert prompt.messages == [
        {"role": "system", "content": "Be brief.\n\nBe kind."},
        {"role": "user", "content": "What is this?\n\nAnd that?"},
        {"role": "assistant", "content": "A book."},
        {"role": "system", "content": "Hurry."},
        {"role": "user", "content": "Which?"},
    ]
    assert not prompt.continue_final


def test_calls_of_tools_and_their_results_keep_their_places():
    used = {"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Ulm"}}
    result = {"type": "tool_result", "tool_use_id": "t1", "content": blocks("22 ", "degrees")}
    failed = {"type": "tool_result", "tool_use_id": "t2", "content": "no such city", "is_error": True}
    tool = {"name": "weather", "description": "Of a city.", "input_schema": {"type": "object"}}
    prompt = chat_prompt(
        body(
            tools=[tool],
            tool_choice={"type": "tool", "name": "weather", "disable_parallel_tool_use": True},
            messages=[
                {"role": "user", "content": "Weather?"},
                {"role": "assistant", "content": [*blocks("Let me look."), used, {**used, "id": "t2"}]},
                {"role": "user", "content": [result, failed, *blocks("So?")]},
            ],
        )
    )
    function = {"name": "weather", "arguments": {"city": "Ulm"}}
    calls = [{"id": each, "type": "function", "function": function} for each in ("t1", "t2")]
    assert prompt.messages[1:] == [
        {"role": "assistant", "content": "Let me look.", "tool_calls": calls},
        {"role": "tool", "tool_call_id": "t1", "content": "22 degrees"},
        {"role": "tool", "tool_call_id": "t2", "content": "Error: no such city"},
        {"role": "user", "content": "So?"},
    ]
    described = {"name": "weather", "description": "Of a city.", "parameters": {"type": "object"}}
    assert prompt.tools == [{"type": "function", "function": described}]
    assert (prompt.tool_choice, prompt.parallel_tool_calls) == ("weather", False)


@pytest.mark.parametrize(("choice", "ours"), [("auto", "auto"), ("any", "required"), ("none", "none")])
def test_tool_choice_has_our_names(choice, ours):
    assert chat_prompt(body(tool_choice={"type": choice})).tool_choice == ours


def test_a_last_turn_of_the_assistant_is_continued():
    begun = [*ASKED["messages"], {"role": "assistant", "content": "Good"}]
    assert chat_prompt(body(messages=begun)).continue_final


def test_settings_are_ours_and_only_those_that_were_given():
    assert generation_request(body()).settings == {"max_tokens": 8}
    asked = generation_request(body(temperature=0.5, top_p=0.5, top_k=3, stop_sequences=["END"]))
    assert asked.settings == {"max_tokens": 8, "temperature": 0.5, "top_p": 0.5, "top_k": 3, "stop": ["END"]}
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    assert generation_request(body(output_config={"format": {"type": "json_schema", "schema": schema}})).format


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"nonsense": 1}, "nonsense"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"max_tokens": "8"}, "max_tokens"),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, "thinking"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "image", "source": {}}]}]}, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages"),
        ({"output_config": {"effort": "high"}}, "output_config"),
        ({"temperature": float("nan")}, "temperature"),
        ({"mcp_servers": []}, "mcp_servers"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(fields, place):
    with pytest.raises(ValidationError) as caught:
        body(**fields)
    assert caught.value.errors()[0]["loc"][0] == place


@pytest.mark.parametrize(
    ("role", "block"),
    [
        ("user", {"type": "tool_use", "id": "t", "name": "n", "input": {}}),
        ("assistant", {"type": "tool_result", "tool_use_id": "t"}),
        ("system", {"type": "tool_result", "tool_use_id": "t"}),
    ],
)
def test_a_block_on_the_wrong_side_is_named(role, block):
    with pytest.raises(ApiError) as caught:
        chat_prompt(body(messages=[{"role": role, "content": [block]}]))
    assert (caught.value.status, caught.value.param) == (400, "messages.0.content")


def folded(stream):
    """The message that a client makes of a stream, by the rules of Anthropic's streaming guide."""
    found = events_of(stream)
    assert all(name == data["type"] for name, data in found)
    assert found[0][0] == "message_start" and found[-1][0] == "message_stop"
    answer, is_open = found[0][1]["message"], False
    assert answer["content"] == [] and answer["stop_reason"] is None
    for name, data in found[1:-1]:
        if name == "content_block_start":
            assert data["index"] == len(answer["content"]) and not is_open
            answer["content"].append(data["content_block"])
            is_open, parts = True, []
        elif name == "content_block_delta":
            assert data["index"] == len(answer["content"]) - 1 and is_open
            parts.append(data["delta"].get("text", data["delta"].get("partial_json")))
        elif name == "content_block_stop":
            block, is_open = answer["content"][data["index"]], False
            key = "text" if block["type"] == "text" else "input"
            block[key] = "".join(parts) if key == "text" else json.loads("".join(parts))
        else:
            assert name == "message_delta" and not is_open
            answer |= data["delta"]
            answer["usage"] |= data["usage"]
    return answer


@given(generations())
def test_a_stream_is_the_whole_answer_in_pieces(generation):
    streamed = folded(collected(events(generation, 100)))
    whole = message(generation, generation.result(), 100)
    assert "".join(b.get("text", "") for b in streamed["content"]) == "".join(
        b.get("text", "") for b in whole["content"]
    )
    calls = [[block for block in each["content"] if block["type"] == "tool_use"] for each in (streamed, whole)]
    assert calls[0] == calls[1]
    assert streamed["content"] and whole["content"]  # clients read the first block
    same = ("id", "type", "role", "model", "stop_reason", "stop_sequence", "usage")
    assert {name: streamed[name] for name in same} == {name: whole[name] for name in same}


def test_the_start_has_the_real_number_of_input_tokens():
    generation = Generation([Delta(0, "Hi"), Delta(0, finish_reason="end")], prompt=12, cached=5)
    found = events_of(collected(events(generation, 5)))
    assert found[0][1]["message"]["usage"]["input_tokens"] == 12
    assert found[-2][1]["usage"] == {
        "input_tokens": 7,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 5,
        "output_tokens": 1,
        "service_tier": "standard",
    }


@pytest.mark.parametrize(("limit", "reason"), [(1, "max_tokens"), (2, "model_context_window_exceeded")])
def test_a_length_is_the_limit_or_the_context(limit, reason):
    generation = Generation([Delta(0, "Hi"), Delta(0, finish_reason="length")])
    generation.usage.completion_tokens = 1
    assert message(generation, generation.result(), limit)["stop_reason"] == reason
    assert folded(collected(events(generation, limit)))["stop_reason"] == reason


def test_only_calls_are_no_empty_text():
    generation = Generation([Delta(0, tool_call=call(0)), Delta(0, finish_reason="tool_calls")])
    answer = message(generation, generation.result(), 9)
    assert answer["content"] == [{"type": "tool_use", "id": "call_0", "name": "weather", "input": {"city": "Ulm"}}]
    assert answer["stop_reason"] == "tool_use"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (404, "not_found_error"),
        (405, "invalid_request_error"),
        (413, "request_too_large"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (503, "overloaded_error"),
    ],
)
def test_errors_have_their_type(status, kind):
    found = error_body(ApiError(status, "so"), "req_1")
    assert found == {"type": "error", "error": {"type": kind, "message": "so"}, "request_id": "req_1"}


class Listed:
    """A served model in a list."""

    state, modified = None, 0.0

    def __init__(self, name):
        self.id = name


def test_pages_of_models():
    entries = [Listed(name) for name in "abcde"]
    pages = [models_page(entries, limit=2)]
    while pages[-1]["has_more"]:
        pages.append(models_page(entries, after_id=pages[-1]["last_id"], limit=2))
    assert [each["id"] for page in pages for each in page["data"]] == list("abcde")
    before = models_page(entries, before_id="e", limit=2)
    assert [each["id"] for each in before["data"]] == ["c", "d"] and before["has_more"]
    assert pages[0]["data"][0] == {
        "type": "model", "id": "a", "display_name": "a", "created_at": "1970-01-01T00:00:00Z",
    }  # fmt: skip
    for wrong in ({"after_id": "z"}, {"before_id": "z"}, {"limit": 0}):
        with pytest.raises(ApiError):
            models_page(entries, **wrong)
