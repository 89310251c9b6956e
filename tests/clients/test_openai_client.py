"""OpenAI's own Python client against a live server: what it sends is understood, and it understands what comes back."""

import json

import openai
import pytest

SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 5}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"enum": ["Bath", "London"]}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
HELLO = [{"role": "user", "content": "Hello"}]


@pytest.fixture(scope="module")
def client(live):
    with openai.OpenAI(base_url=f"{live.url}/v1", api_key="any", max_retries=0) as opened:
        yield opened


def counts(usage):
    """Without the tokens that the prefix cache had, which depend on what was asked before."""
    return usage.prompt_tokens, usage.completion_tokens, usage.total_tokens


def literally(text):
    """The form of an answer that can only be this text, in quotes."""
    return {"type": "json_schema", "json_schema": {"name": "text", "schema": {"const": text}}}


def test_it_lists_the_models(client):
    assert [model.id for model in client.models.list()] == ["chat", "plain", "translator"]
    found = client.models.retrieve("translator")
    assert (found.object, found.owned_by) == ("model", "openbook")
    assert found.openbook["kind"] == "encoder-decoder" and found.openbook["translates"]
    with pytest.raises(openai.NotFoundError) as error:
        client.models.retrieve("nobody")
    assert error.value.code == "model_not_found"


def test_a_chat_is_answered_whole_and_in_pieces_alike(client):
    asked = {"model": "chat", "messages": HELLO, "max_tokens": 12, "temperature": 1.0, "seed": 5}
    whole = client.chat.completions.create(**asked)
    chunks = list(client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert whole.choices[0].message.content == text != ""
    assert whole.choices[0].message.role == chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].choices == [] and counts(chunks[-1].usage) == counts(whole.usage)
    assert whole.usage.completion_tokens == 12 and whole.usage.total_tokens == whole.usage.prompt_tokens + 12
    assert whole.choices[0].finish_reason == "length"
    assert len({chunk.id for chunk in chunks}) == 1 and chunks[0].id.startswith("chatcmpl-")
    assert {chunk.system_fingerprint for chunk in chunks} == {whole.system_fingerprint}
    assert whole.system_fingerprint.startswith("fp_") and whole.seed == chunks[0].seed == 5


def test_the_reason_comes_alone_in_the_last_chunk_of_a_choice(client):
    chunks = list(client.chat.completions.create(model="chat", messages=HELLO, max_tokens=5, stream=True, n=2, seed=1))
    for index in (0, 1):
        mine = [chunk.choices[0] for chunk in chunks if chunk.choices[0].index == index]
        assert [each.finish_reason for each in mine] == [None] * (len(mine) - 1) + ["length"]
        assert mine[-1].delta.content is None and mine[-1].delta.role is None
    assert [chunk.choices[0].index for chunk in chunks[:2]] == [0, 1]


def test_choices_are_what_their_seeds_give_alone(client):
    asked = {"model": "chat", "messages": HELLO, "max_tokens": 12, "temperature": 1.5}
    together = client.chat.completions.create(**asked, n=3, seed=7).choices
    alone = [client.chat.completions.create(**asked, seed=7 + i).choices[0] for i in range(3)]
    assert [each.message.content for each in together] == [each.message.content for each in alone]
    assert len({each.message.content for each in together}) > 1


def test_logprobs_of_a_chat(client):
    asked = {"model": "chat", "messages": HELLO, "max_tokens": 6, "logprobs": True, "top_logprobs": 3}
    whole = client.chat.completions.create(**asked).choices[0].logprobs.content
    streamed = client.chat.completions.create(**asked, stream=True)
    pieces = [each for chunk in streamed if chunk.choices[0].logprobs for each in chunk.choices[0].logprobs.content]
    assert whole == pieces and len(whole) == 6
    for token in whole:
        assert len(token.top_logprobs) == 3 and token.logprob == token.top_logprobs[0].logprob  # greedy
        scores = [each.logprob for each in token.top_logprobs]
        assert scores == sorted(scores, reverse=True)
        assert bytes(token.bytes).decode("utf-8", "backslashreplace") == token.token
    assert client.chat.completions.create(model="chat", messages=HELLO, max_tokens=2).choices[0].logprobs is None


def test_bias_and_penalties_choose_other_tokens(client):
    def tokens(**changes):
        asked = {"model": "plain", "prompt": "It is a truth", "max_tokens": 6, "logprobs": 1, **changes}
        return client.completions.create(**asked).choices[0].logprobs.model_dump()["token_ids"]

    first = tokens()[0]
    assert tokens(logit_bias={str(first): -100})[0] != first
    assert tokens(logit_bias={"77": 100}) == [77] * 6
    assert len(set(tokens(logit_bias={"77": 100}, frequency_penalty=2.0, presence_penalty=2.0))) == 1
    assert tokens(logit_bias={"77": 3, "78": 3}, extra_body={"repetition_penalty": 90.0}) != [77] * 6
    hot = {"temperature": 2.0, "seed": 3}
    assert tokens(**hot, extra_body={"top_k": 1}) == tokens(**hot, top_p=0.0001) == tokens() != tokens(**hot)


def test_a_prompt_may_be_text_tokens_or_several_of_them(client):
    def texts(prompt, **changes):
        found = client.completions.create(model="plain", prompt=prompt, max_tokens=5, **changes)
        assert [choice.index for choice in found.choices] == list(range(len(found.choices)))
        return [choice.text for choice in found.choices]

    ids = [73, 84]
    one, other = texts("It is"), texts("a truth")
    assert texts(["It is", "a truth"]) == one + other
    assert texts(ids) == texts([ids]) and texts([ids, ids]) == texts(ids) * 2
    assert texts(["It is", "a truth"], n=2, seed=1, temperature=1.0)[0] == texts("It is", seed=1, temperature=1.0)[0]


def test_completions_stream_as_they_answer(client):
    asked = {"model": "plain", "prompt": ["It is", "a"], "max_tokens": 6, "logprobs": 2, "echo": True}
    asked |= {"extra_body": {"min_tokens": 6}}
    whole = client.completions.create(**asked)
    chunks = list(client.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    assert counts(chunks[-1].usage) == counts(whole.usage) and whole.usage.completion_tokens == 12
    for index, choice in enumerate(whole.choices):
        mine = [each for chunk in chunks for each in chunk.choices if each.index == index]
        assert "".join(each.text for each in mine) == choice.text
        assert choice.text.startswith(asked["prompt"][index])
        scored = [each.logprobs for each in mine if each.logprobs is not None]
        for name in ("tokens", "token_logprobs", "text_offset"):
            assert [item for each in scored for item in getattr(each, name)] == getattr(choice.logprobs, name)
        assert mine[-1].finish_reason == choice.finish_reason == "length"


def test_an_answer_has_the_form_that_is_asked_for(client):
    def form(wanted, **changes):
        given = {"model": "chat", "messages": HELLO, "max_tokens": 200, "temperature": 1.0, **changes}
        return client.chat.completions.create(**given, response_format=wanted).choices[0]

    schema = {"type": "json_schema", "json_schema": {"name": "person", "schema": SCHEMA, "strict": True}}
    for seed in range(3):
        found = form(schema, seed=seed)
        if found.finish_reason == "stop":
            person = json.loads(found.message.content)
            assert set(person) == {"name", "age"} and isinstance(person["age"], int) and len(person["name"]) <= 5
        assert form({"type": "json_object"}, seed=seed).message.content.startswith("{")
    assert json.loads(form(literally("Emma")).message.content) == "Emma"
    assert form({"type": "text"}, max_tokens=3).finish_reason == "length"


def test_a_tool_is_called_and_its_answer_read(client):
    asked = {"model": "chat", "messages": HELLO, "tools": [TOOL], "tool_choice": "required", "max_tokens": 400}
    whole = client.chat.completions.create(**asked).choices[0]
    (call,) = whole.message.tool_calls
    assert whole.finish_reason == "tool_calls" and whole.message.content is None
    assert call.function.name == "weather" and json.loads(call.function.arguments)["city"] in ("Bath", "London")
    chunks = [chunk.choices[0] for chunk in client.chat.completions.create(**asked, stream=True)]
    (streamed,) = [each for chunk in chunks for each in chunk.delta.tool_calls or ()]
    assert (streamed.function.name, streamed.function.arguments) == (call.function.name, call.function.arguments)
    assert chunks[-1].finish_reason == "tool_calls" and not "".join(each.delta.content or "" for each in chunks)
    named = {"type": "function", "function": {"name": "weather"}}
    assert client.chat.completions.create(**asked | {"tool_choice": named}).choices[0].message.tool_calls
    said = [*HELLO, whole.message.model_dump(exclude_none=True)]
    said.append({"role": "tool", "tool_call_id": call.id, "content": "Rain."})
    assert client.chat.completions.create(model="chat", messages=said, tools=[TOOL], max_tokens=3).choices[0]
    with pytest.raises(openai.BadRequestError, match="no chat template"):
        client.chat.completions.create(model="plain", messages=HELLO, tools=[TOOL])


def test_a_translator_answers_chats_and_completions(client):
    said = [{"role": "user", "content": "the cat sat"}]
    chat = client.chat.completions.create(model="translator", messages=said)
    text = client.completions.create(model="translator", prompt="the cat sat")
    assert chat.choices[0].message.content == text.choices[0].text
    chunks = client.chat.completions.create(model="translator", messages=said, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == text.choices[0].text
    beams = client.completions.create(model="translator", prompt="the cat sat", n=2, extra_body={"beam_size": 4})
    assert len({choice.text for choice in beams.choices}) == 2
    with pytest.raises(openai.BadRequestError) as error:
        client.chat.completions.create(model="translator", messages=[{"role": "system", "content": "x"}, *said])
    assert error.value.param == "messages"


def test_best_of_gives_the_most_probable(client):
    asked = {"model": "plain", "prompt": "It is", "max_tokens": 6, "temperature": 1.5, "seed": 2, "logprobs": 0}

    def mean(choice):
        return sum(choice.logprobs.token_logprobs) / len(choice.logprobs.token_logprobs)

    sampled = client.completions.create(**asked, n=4).choices
    best = client.completions.create(**asked, n=2, best_of=4).choices
    assert sorted(map(mean, sampled), reverse=True)[:2] == pytest.approx([mean(each) for each in best])


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"temperature": -1}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_p": 2}, "top_p"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"n": 0}, "n"),
        ({"n": 4, "best_of": 2}, "best_of"),
        ({"logprobs": 1000}, "logprobs"),
        ({"stop": [""]}, "stop.0"),
        ({"stop": ["x"] * 1000}, "stop"),
        ({"seed": -1}, "seed"),
        ({"logit_bias": {"warm": 1}}, "logit_bias.warm"),
        ({"logit_bias": {"1": 1000}}, "logit_bias.1"),
        ({"logit_bias": {"99999": 1}}, "logit_bias"),
        ({"suffix": "end"}, "suffix"),
        ({"extra_body": {"audio": {}}}, "audio"),
        ({"extra_body": {"stream_options": {"include_usage": True}}}, "stream_options"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [99999]}, "prompt"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema.schema"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_cannot_be_is_refused_by_name_before_anything_is_sent(client, changes, param, stream):
    extra = {name: changes[name] for name in ("response_format",) if name in changes}
    given = {name: value for name, value in changes.items() if name not in (*extra, "extra_body")}
    if param == "stream_options" and stream:
        return
    body = {"extra_body": {**extra, **changes.get("extra_body", {})}}
    with pytest.raises(openai.BadRequestError) as error:
        client.completions.create(**{"model": "plain", "prompt": "It is", "stream": stream, **given, **body})
    assert error.value.param == param
    assert error.value.type == "invalid_request_error" and param.partition(".")[0] in error.value.message


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "nobody", "content": "x"}]}, "messages.0"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}, "messages.0"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"functions": [{"name": "x"}]}, "functions"),
        ({"reasoning_effort": "high"}, "reasoning_effort"),
        ({"store": True}, "store"),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "x"}}}, "tool_choice"),
        ({"max_tokens": 3, "max_completion_tokens": 4}, "max_completion_tokens"),
        ({"max_completion_tokens": 0}, "max_completion_tokens"),
    ],
)
def test_what_a_chat_does_not_support_is_named(client, changes, param):
    with pytest.raises(openai.BadRequestError) as error:
        client.chat.completions.create(**{"model": "chat", "messages": HELLO, **changes})
    assert error.value.param.startswith(param), error.value.param


async def _many(client, prompts):
    import asyncio

    asked = [
        client.completions.create(model="plain", prompt=each, max_tokens=24, temperature=1.0, seed=3, logprobs=1)
        for each in prompts
    ]
    return [answer.choices[0] for answer in await asyncio.gather(*asked)]


def test_an_answer_is_the_same_to_the_bit_alone_and_in_any_batch(client, live):
    import asyncio

    prompts = [f"It is a truth{' universally' * (i % 5)} {i % 3}" for i in range(24)]
    alone = {
        each: client.completions.create(model="plain", prompt=each, max_tokens=24, temperature=1.0, seed=3, logprobs=1)
        for each in sorted(set(prompts))
    }

    async def together():
        async with openai.AsyncOpenAI(base_url=f"{live.url}/v1", api_key="any", max_retries=0) as many:
            return await _many(many, prompts)

    for prompt, choice in zip(prompts, asyncio.run(together()), strict=True):
        assert choice == alone[prompt].choices[0]
    assert client.models.retrieve("plain").openbook["exact"] is True
