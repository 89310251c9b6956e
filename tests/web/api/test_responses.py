"""OpenAI's responses: items to conversations, and answers as items and events."""

import json

import pytest
from fake_generation import Generation, call, collected, events_of, generations
from hypothesis import given
from pydantic import ValidationError

from openbook.web.api.responses.answers import events, whole_response
from openbook.web.api.responses.bodies import ResponsesBody
from openbook.web.api.responses.translation import chat_prompt, generation_request
from openbook.web.serve.choices import Delta
from openbook.web.serve.errors import ApiError

TOOL = {"type": "function", "name": "weather", "parameters": {"type": "object"}}


def body(**fields):
    return ResponsesBody.model_validate({"input": "Hello"} | fields)


def test_a_text_and_instructions():
    prompt = chat_prompt(body(instructions="Be brief."))
    assert prompt.messages == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello"},
    ]


def test_items_become_a_conversation():
    items = [
        {"role": "developer", "content": "Be kind."},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Weather"}]},
        {"role": "assistant", "phase": "commentary", "content": [{"type": "output_text", "text": "I look."}]},
        {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": '{"city":"Ulm"}'},
        {"type": "function_call", "call_id": "c2", "name": "weather", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "22"},
        {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "none"}]},
        {"role": "user", "content": "Thanks"},
    ]
    prompt = chat_prompt(body(input=items, instructions="Be brief.", tools=[TOOL], tool_choice="required"))
    calls = [("c1", {"city": "Ulm"}), ("c2", {})]
    listed = [{"id": i, "type": "function", "function": {"name": "weather", "arguments": a}} for i, a in calls]
    assert prompt.messages == [
        {"role": "system", "content": "Be brief.\n\nBe kind."},
        {"role": "user", "content": "Weather"},
        {"role": "assistant", "content": "I look.", "tool_calls": listed},
        {"role": "tool", "tool_call_id": "c1", "content": "22"},
        {"role": "tool", "tool_call_id": "c2", "content": "none"},
        {"role": "user", "content": "Thanks"},
    ]
    assert prompt.tool_choice == "required"
    assert prompt.tools[0]["function"] == {"name": "weather", "description": "", "parameters": {"type": "object"}}


def test_settings_are_ours():
    asked = generation_request(body(max_output_tokens=5, temperature=0, seed=3, top_k=2, frequency_penalty=1))
    wanted = {"max_tokens": 5, "temperature": 0, "seed": 3, "top_k": 2, "frequency_penalty": 1}
    assert asked.settings == wanted and asked.logprobs is None
    assert generation_request(body(top_logprobs=2)).logprobs == 2
    assert generation_request(body(include=["message.output_text.logprobs"])).logprobs == 0


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"nonsense": 1}, "nonsense"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"store": True}, "store"),
        ({"background": True}, "background"),
        ({"truncation": "auto"}, "truncation"),
        ({"reasoning": {"effort": "high"}}, "reasoning"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input"),
        ({"input": [{"type": ["message"]}]}, "input"),
        ({"tools": [{"type": "web_search"}]}, "tools"),
        ({"include": ["file_search_call.results"]}, "include"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(fields, place):
    with pytest.raises(ValidationError) as caught:
        body(**fields)
    assert caught.value.errors()[0]["loc"][0] == place


@pytest.mark.parametrize("arguments", ["", "[]", "{", "[" * 5000])
def test_arguments_that_are_no_object_are_named(arguments):
    item = {"type": "function_call", "call_id": "c", "name": "n", "arguments": arguments}
    with pytest.raises(ApiError) as caught:
        chat_prompt(body(input=[item]))
    assert caught.value.param == "input.0.arguments"


def folded(stream):
    """The response that a client makes of the events of a stream, each checked for its place."""
    *found, (_, done) = events_of(stream)
    assert done is None
    assert [data["sequence_number"] for _, data in found] == list(range(len(found)))
    assert all(name == data["type"] for name, data in found)
    assert [name for name, _ in found[:2]] == ["response.created", "response.in_progress"]
    output, parts = [], {}
    for name, data in found[2:-1]:
        match name:
            case "response.output_item.added":
                assert data["output_index"] == len(output) and data["item"]["status"] == "in_progress"
                output.append(data["item"])
                parts[data["item"]["id"]] = ""
            case "response.output_text.delta" | "response.function_call_arguments.delta":
                assert data["item_id"] == output[-1]["id"]
                parts[data["item_id"]] += data["delta"]
            case "response.output_text.done":
                assert data["text"] == parts[data["item_id"]]
            case "response.function_call_arguments.done":
                assert data["arguments"] == parts[data["item_id"]]
            case "response.output_item.done":
                assert data["item"]["id"] == output[-1]["id"]
                output[-1] = data["item"]
            case _:
                assert name in ("response.content_part.added", "response.content_part.done")
    last = found[-1][1]["response"]
    assert last["output"] == output and len({item["id"] for item in output}) == len(output)
    return last


@given(generations())
def test_a_stream_is_the_whole_answer_in_pieces(generation):
    asked = body(metadata={"for": "a test"}, tools=[TOOL])
    streamed, whole = (
        folded(collected(events(asked, generation))),
        whole_response(asked, generation, generation.result()),
    )
    assert streamed.keys() == whole.keys()
    unlike = ("output", "completed_at")
    assert all(streamed[name] == whole[name] for name in whole if name not in unlike)
    for kind, field in (("message", "content"), ("function_call", "arguments")):
        texts = [
            "".join(
                item[field] if kind == "function_call" else item["content"][0]["text"]
                for item in each["output"]
                if item["type"] == kind
            )
            for each in (streamed, whole)
        ]
        assert texts[0] == texts[1]
    assert whole["output"]


def test_an_answer_cut_off_is_incomplete():
    generation = Generation([Delta(0, "Hi"), Delta(0, finish_reason="length")], cached=3)
    found = whole_response(body(), generation, generation.result())
    assert (found["status"], found["completed_at"]) == ("incomplete", None)
    assert found["incomplete_details"] == {"reason": "max_output_tokens"}
    assert found["output"][0]["status"] == "incomplete"
    assert found["usage"]["input_tokens_details"] == {"cached_tokens": 3}
    assert events_of(collected(events(body(), generation)))[-2][0] == "response.incomplete"


def test_calls_are_items_of_their_own():
    generation = Generation([Delta(0, "So:"), Delta(0, tool_call=call(0)), Delta(0, finish_reason="tool_calls")])
    found = whole_response(body(tools=[TOOL]), generation, generation.result())
    assert [item["type"] for item in found["output"]] == ["message", "function_call"]
    assert json.loads(found["output"][1]["arguments"]) == {"city": "Ulm"}
    assert found["output"][1]["call_id"] == "call_0"
    assert (found["status"], found["store"], found["temperature"]) == ("completed", False, 0.5)
