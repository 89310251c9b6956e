"""The official `ollama` client against a live server: every field, whole and streamed."""

import json

import ollama
import pytest

HELLO = [{"role": "user", "content": "Hello"}]
FEW = {"num_predict": 12}
SCHEMA = {
    "type": "object",
    "properties": {"n": {"enum": [1, 2]}},
    "required": ["n"],
    "additionalProperties": False,
}


def weather(city: str) -> str:
    """The weather.

    Args:
        city: where
    """
    return city


@pytest.fixture(scope="module")
def client(live):
    return ollama.Client(host=live.url)


@pytest.fixture(scope="module")
def answer(client):
    """A greedy answer to compare others with."""
    return client.chat("chat", HELLO, options=FEW)


def test_a_chat(answer):
    assert answer.model == "chat" and answer.message.role == "assistant" and len(answer.message.content) > 4
    assert (answer.done, answer.done_reason, answer.eval_count) == (True, "length", 12)
    assert answer.prompt_eval_count > 0 and answer.total_duration >= answer.eval_duration > 0


def test_a_chat_is_streamed_in_lines(client, answer):
    parts = list(client.chat("chat", HELLO, options=FEW, stream=True))
    assert len(parts) > 2 and [part.done for part in parts] == [False] * (len(parts) - 1) + [True]
    assert "".join(part.message.content for part in parts) == answer.message.content
    assert parts[-1].done_reason == "length" and parts[-1].eval_count == 12


def test_a_name_may_have_the_tag_latest(client, answer):
    assert client.chat("chat:latest", HELLO, options=FEW).message.content == answer.message.content


def test_generate_is_a_turn_or_raw(client, answer):
    assert client.generate("chat", "Hello", options=FEW).response == answer.message.content
    raw = client.generate("chat", "Hello", raw=True, options=FEW)
    assert raw.response != answer.message.content and raw.prompt_eval_count < answer.prompt_eval_count
    parts = list(client.generate("chat", "Hello", raw=True, options=FEW, stream=True))
    assert "".join(part.response for part in parts) == raw.response
    system = [{"role": "system", "content": "Be brief."}, *HELLO]
    expected = client.chat("chat", system, options=FEW).message.content
    assert client.generate("chat", "Hello", system="Be brief.", options=FEW).response == expected


def test_options(client, answer):
    def ask(**options):
        return client.chat("chat", HELLO, options=FEW | options).message.content

    whole = answer.message.content
    for greedy in ({"temperature": 0}, {"temperature": 1, "top_k": 1}, {"temperature": 1, "top_p": 0.0}):
        assert ask(**greedy) == whole
    assert ask(temperature=2, seed=5) == ask(temperature=2, seed=5) != ask(temperature=2, seed=6)
    assert ask(stop=[whole[2:5]]) == whole[: whole.index(whole[2:5])]
    assert ask(repeat_penalty=2, repeat_last_n=-1, presence_penalty=2, frequency_penalty=2, min_p=0.5) != whole
    read = answer.prompt_eval_count
    assert client.chat("chat", HELLO, options={"num_ctx": read + 4}).eval_count == 4
    with pytest.raises(ollama.ResponseError, match="num_ctx"):
        ask(num_ctx=read)


def test_formats(client):
    found = client.chat("chat", HELLO, format=SCHEMA, options={"num_predict": 100})
    if found.done_reason == "stop":
        assert isinstance(json.loads(found.message.content)["n"], int)
    assert found.message.content.lstrip().startswith("{")
    assert client.chat("chat", HELLO, format="json", options=FEW).message.content.lstrip().startswith("{")


def test_tools_are_taken(client, answer):
    found = client.chat("chat", HELLO, tools=[weather], options=FEW)
    assert found.prompt_eval_count > answer.prompt_eval_count
    call = {"function": {"name": "weather", "arguments": {"city": "Ulm"}}}
    turns = [
        *HELLO,
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "content": "22", "tool_name": "weather"},
    ]
    assert client.chat("chat", turns, tools=[weather], options=FEW).done


def test_logprobs(client):
    found = client.chat("chat", HELLO, logprobs=True, top_logprobs=2, options=FEW)
    assert len(found.logprobs) == 12 and all(len(each.top_logprobs) == 2 for each in found.logprobs)
    parts = client.generate("chat", "Hello", logprobs=True, top_logprobs=2, options=FEW, stream=True)
    streamed = [each.logprob for part in parts for each in part.logprobs or ()]
    assert streamed == [each.logprob for each in found.logprobs]


def test_models_are_listed_and_shown(client):
    listed = client.list().models
    assert [model.model for model in listed] == ["chat", "plain", "translator"]
    assert listed[0].size > 0 and len(listed[0].digest) == 64 and listed[0].details.family == "openbook"
    shown = client.show("chat")
    assert "assistant" in shown.template and shown.modelinfo["openbook.context_length"] > 0
    assert shown.capabilities == ["completion", "tools"] and shown.modelinfo["general.parameter_count"] > 0


def test_a_model_is_loaded_and_let_go(client, live):
    def loaded():
        return [model.model for model in client.ps().models]

    client.generate("translator", "", keep_alive="5m")
    assert "translator" in loaded()
    assert client.chat("translator", [], keep_alive=0).done_reason == "unload"
    assert "translator" not in loaded()


def test_the_version_is_one_that_clients_accept(live):
    version = live.ask("/api/version")[2]["version"]
    assert tuple(map(int, version.partition("+")[0].split("."))) >= (0, 6, 4)


@pytest.mark.parametrize(
    ("fields", "status", "said"),
    [
        ({"model": "nobody"}, 404, "nobody"),
        ({"think": True}, 400, "think"),
        ({"options": {"num_gpu": 1}}, 400, "num_gpu"),
        ({"options": {"temperature": -1}}, 400, "temperature"),
        ({"messages": [{"role": "user", "content": "x", "images": [b"hi"]}]}, 400, "images"),
        ({"keep_alive": "soon"}, 400, "keep_alive"),
    ],
)
def test_mistakes_are_told_in_their_shape(client, fields, status, said):
    for streams in (False, True):
        with pytest.raises(ollama.ResponseError, match=said) as caught:
            found = client.chat(**({"model": "chat", "messages": HELLO, "stream": streams} | fields))
            list(found)
        assert caught.value.status_code == status
