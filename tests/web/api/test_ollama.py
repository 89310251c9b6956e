"""Ollama's chat and generate: their requests, and their answers line by line."""

import json

import pytest
from fake_generation import Generation, call, collected, generations
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from openbook.web.api.ollama.answers import Clock, Style, chat_text, generate_text, lines, whole_answer
from openbook.web.api.ollama.bodies import ChatBody, GenerateBody, seconds
from openbook.web.api.ollama.translation import chat_prompt, generate_prompt, generation_request
from openbook.web.serve.choices import Delta
from openbook.web.serve.prompts import ChatPrompt, TextPrompt


def chat(**fields):
    return ChatBody.model_validate({"model": "tiny", "messages": [{"role": "user", "content": "Hello"}]} | fields)


def generate(**fields):
    return GenerateBody.model_validate({"model": "tiny", "prompt": "Hello"} | fields)


@pytest.mark.parametrize(
    ("duration", "found"),
    [
        ("5m", 300),
        ("1h30m", 5400),
        ("1.5h", 5400),
        ("100ms", 0.1),
        ("2us", 2e-6),
        ("0", 0),
        ("0s", 0),
        (300, 300),
        (0, 0),
        (0.5, 0.5),
        (-1, None),
        ("-1m", None),
        ("999999999h", None),
    ],
)
def test_durations_are_those_of_go(duration, found):
    assert seconds(duration) == (found if found is None else pytest.approx(found))


@pytest.mark.parametrize("wrong", ["", "5", "m", "5 m", "5x", "5m3", "-", "1h-3m", "5m " * 20])
def test_what_is_no_duration_is_refused(wrong):
    with pytest.raises(ValidationError, match=r"duration|at most"):
        chat(keep_alive=wrong)


@given(st.integers(0, 10**6), st.integers(0, 59), st.integers(0, 59))
def test_a_duration_is_the_sum_of_its_parts(hours, minutes, rest):
    total = hours * 3600 + minutes * 60 + rest
    expected = None if total > 10 * 365 * 86400 else pytest.approx(total)
    assert seconds(f"{hours}h{minutes}m{rest}s") == expected


def test_options_are_our_settings():
    options = {"num_predict": 5, "seed": 3, "temperature": 0.5, "top_k": 2, "top_p": 0.9, "min_p": 0.1, "stop": "END"}
    options |= {"repeat_penalty": 1.1, "presence_penalty": 0.5, "frequency_penalty": 0.25, "repeat_last_n": -1}
    assert generation_request(chat(options=options), TextPrompt("x")).settings == {
        "max_tokens": 5,
        "seed": 3,
        "temperature": 0.5,
        "top_k": 2,
        "top_p": 0.9,
        "min_p": 0.1,
        "stop": ["END"],
        "repetition_penalty": 1.1,
        "presence_penalty": 0.5,
        "frequency_penalty": 0.25,
    }
    off = {"top_k": 0, "seed": -1, "num_predict": -1}
    assert generation_request(chat(options=off), TextPrompt("x")).settings == {"top_k": None, "max_tokens": 2**31}
    assert generation_request(chat(), TextPrompt("x")).settings == {}
    assert generation_request(chat(logprobs=True, top_logprobs=3), TextPrompt("x")).logprobs == 3
    assert generation_request(chat(format="json"), TextPrompt("x")).format is not None
    assert generation_request(chat(format=""), TextPrompt("x")).format is None


def test_a_conversation_with_tools():
    call_ = {"function": {"name": "weather", "arguments": {"city": "Ulm"}}}
    asked = chat(
        tools=[{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}],
        messages=[
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Weather?"},
            {"role": "assistant", "tool_calls": [call_, {**call_, "id": "mine"}]},
            {"role": "tool", "content": "22", "tool_name": "weather"},
            {"role": "tool", "content": "23", "tool_call_id": "mine"},
        ],
    )
    prompt = chat_prompt(asked.messages, asked.tools)
    assert [each["id"] for each in prompt.messages[2]["tool_calls"]] == ["call_0", "mine"]
    assert prompt.messages[3] == {"role": "tool", "content": "22", "name": "weather", "tool_call_id": "call_0"}
    assert prompt.messages[4]["tool_call_id"] == "mine"
    assert prompt.tools[0]["function"]["name"] == "weather" and not prompt.continue_final


def test_a_prompt_is_raw_or_a_turn():
    assert generate_prompt(generate(raw=True), True) == TextPrompt("Hello")
    assert generate_prompt(generate(), False) == TextPrompt("Hello")
    assert generate_prompt(generate(system="Be brief."), False) == TextPrompt("Be brief.\n\nHello")
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
    assert generate_prompt(generate(system="Be brief."), True) == ChatPrompt(messages=turns)


@pytest.mark.parametrize(
    "fields",
    [
        {"nonsense": 1},
        {"think": True},
        {"truncate": True},
        {"shift": True},
        {"options": {"num_gpu": 1}},
        {"options": {"mirostat": 1}},
        {"options": {"typical_p": 0.5}},
        {"options": {"repeat_last_n": 64}},
        {"messages": [{"role": "user", "content": "x", "images": ["aGk="]}]},
        {"format": "yaml"},
        {"top_logprobs": 21},
    ],
)
def test_what_cannot_be_honoured_is_refused(fields):
    with pytest.raises(ValidationError):
        chat(**fields)


@given(generations(), st.booleans())
def test_the_lines_are_the_whole_answer_in_pieces(generation, is_chat):
    style = Style(chat_text if is_chat else generate_text, logprobs=False)
    found = [json.loads(line) for line in collected(lines(generation, style, Clock())).splitlines()]
    whole = whole_answer(generation, generation.result(), style, Clock())
    assert [each["done"] for each in found] == [False] * (len(found) - 1) + [True]
    assert found[-1]["done_reason"] == whole["done_reason"] and found[-1]["eval_count"] == whole["eval_count"]
    if not is_chat:
        assert "".join(each["response"] for each in found) == whole["response"]
        return
    assert "".join(each["message"]["content"] for each in found) == whole["message"]["content"]
    calls = [each for line in found for each in line["message"].get("tool_calls", ())]
    assert calls == whole["message"].get("tool_calls", [])


def test_counts_and_times():
    generation = Generation([Delta(0, "Hi"), Delta(0, tool_call=call(0)), Delta(0, finish_reason="tool_calls")])
    clock = Clock()
    clock.begun()
    clock.token()
    found = whole_answer(generation, generation.result(), Style(chat_text, logprobs=False), clock)
    assert found["message"]["tool_calls"][0]["function"] == {
        "index": 0,
        "name": "weather",
        "arguments": {"city": "Ulm"},
    }
    assert (found["prompt_eval_count"], found["eval_count"], found["done_reason"]) == (7, 1, "stop")
    spent = found["load_duration"] + found["prompt_eval_duration"] + found["eval_duration"]
    assert spent == found["total_duration"]
