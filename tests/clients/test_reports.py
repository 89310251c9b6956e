"""Fifteen faults that other servers had, by their reports, and what is right; see `../shared/anchors/serving.md`."""

import json
import threading

import pytest

LONG = {"prompt": "It is", "max_tokens": 60_000, "min_tokens": 60_000}
"""An answer that takes longer than any test."""
HELLO = [{"role": "user", "content": "Hello"}]


def literally(text):
    return {"type": "json_schema", "json_schema": {"name": "text", "schema": {"const": text}}}


def rows(live, model="plain"):
    names = ("rows_active", "rows_prefilling", "requests_queued", "requests_active")
    return sum(live.gauge(f"openbook_{name}", model) for name in names)


def until_free(live, model="plain"):
    live.wait_until(lambda: rows(live, model) == 0, "rows are not free")


def test_an_echo_has_the_log_probabilities_of_the_prompt(live):
    """llama.cpp#27174: evaluations landed at chance."""
    ids = live.ask(
        "/v1/completions",
        {"model": "plain", "prompt": "It is a truth", "max_tokens": 1, "logprobs": 1, "echo": True, "temperature": 0},
    )
    found = ids[2]["choices"][0]["logprobs"]
    count = ids[2]["usage"]["prompt_tokens"]
    assert [len(found[name]) for name in ("tokens", "token_logprobs", "top_logprobs")] == [count + 1] * 3
    assert found["token_logprobs"][0] is None and found["top_logprobs"][0] is None
    assert all(isinstance(each, float) for each in found["token_logprobs"][1:])
    assert found["token_logprobs"][-1] == max(found["top_logprobs"][-1].values())
    only = {"model": "plain", "prompt": found["token_ids"][:-1], "max_tokens": 0, "logprobs": 1, "echo": True}
    read = live.ask("/v1/completions", only)[2]["choices"][0]
    assert read["logprobs"]["token_logprobs"] == found["token_logprobs"][:-1]
    assert (read["finish_reason"], read["text"]) == ("length", "<|begin|>It is a truth")


@pytest.mark.parametrize("streams", [False, True])
def test_a_client_that_goes_away_frees_its_row(live, streams):
    """llama.cpp#24496, #11720, Rapid-MLX#1759: the work went on, and slots leaked."""
    before = live.gauge("openbook_requests_cancelled_total", "plain")
    connections = [live.opened("/v1/completions", {"model": "plain", "stream": streams, **LONG}) for _ in range(5)]
    live.wait_until(lambda: live.gauge("openbook_rows_active", "plain") == 5, "the rows do not start")
    for connection in connections:
        connection.close()
    until_free(live)
    assert live.gauge("openbook_requests_cancelled_total", "plain") == before + 5


def test_a_request_that_waits_leaves_with_its_client(live):
    """llama.cpp#13262: a queued request of a client that was gone still ran."""
    full = live.opened("/v1/completions", {"model": "plain", "n": 64, "seed": 1, "temperature": 1.0, **LONG})
    live.wait_until(lambda: live.gauge("openbook_rows_active", "plain") == 64, "the rows do not start")
    waiting = live.opened("/v1/completions", {"model": "plain", **LONG})
    live.wait_until(lambda: live.gauge("openbook_requests_queued", "plain") == 1, "it does not wait")
    waiting.close()
    live.wait_until(lambda: live.gauge("openbook_requests_queued", "plain") == 0, "it waits for ever")
    assert live.gauge("openbook_rows_active", "plain") == 64
    full.close()
    until_free(live)


def test_a_client_that_goes_away_ends_the_reading_of_its_prompt(live):
    """ik_llama.cpp#1020: no cancel while the prompt was read."""
    read = live.gauge("openbook_prompt_tokens_total", "plain")
    connection = live.opened("/v1/completions", {"model": "plain", "prompt": [[70] * 60_000], "max_tokens": 1})
    live.wait_until(lambda: live.gauge("openbook_rows_prefilling", "plain") == 1, "the prompt is not read")
    connection.close()
    until_free(live)
    assert live.gauge("openbook_prompt_tokens_total", "plain") - read < 60_000


def test_what_is_wrong_is_told_before_the_headers(live):
    """llama.cpp#14566: 200, then an error in the stream."""
    for wrong in (
        {"stop": [""]},
        {"seed": -5},
        {"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "x"}}}},
    ):
        status, headers, body = live.ask("/v1/completions", {"model": "plain", "prompt": "x", "stream": True, **wrong})
        assert status == 400 and headers["content-type"] == "application/json" and body["error"]["param"]


def test_reasons_are_null_until_the_last_chunk(live):
    """vLLM#35705, ollama#4357: the last text shared the chunk of the reason; reasons were empty."""
    chunks = live.events("/v1/chat/completions", {"model": "chat", "messages": HELLO, "stream": True, "max_tokens": 4})
    assert chunks.pop() == "[DONE]"
    choices = [json.loads(chunk)["choices"][0] for chunk in chunks]
    assert all("finish_reason" in each for each in choices)
    assert [each["finish_reason"] for each in choices] == [None] * (len(choices) - 1) + ["length"]
    assert choices[-1]["delta"] == {} and all(each["delta"]["content"] for each in choices[1:-1])


@pytest.mark.parametrize("streams", [False, True])
def test_a_stop_text_across_tokens_does_not_leak(live, streams):
    """vLLM PR#3672."""
    body = {
        "model": "plain",
        "prompt": "x",
        "max_tokens": 100,
        "response_format": literally("want a wife and STOP here"),
    }
    body |= {"stop": [" and STOP", "nothing"], "stream": streams, "logprobs": 0}
    if streams:
        chunks = [json.loads(chunk)["choices"][0] for chunk in live.events("/v1/completions", body)[:-1]]
        assert "".join(chunk["text"] for chunk in chunks) == '"want a wife'
        assert chunks[-1]["finish_reason"] == "stop"
        return
    choice = live.ask("/v1/completions", body)[2]["choices"][0]
    assert (choice["text"], choice["finish_reason"]) == ('"want a wife', "stop")
    assert "".join(choice["logprobs"]["tokens"]).startswith('"want a wife and STOP')
    without = live.ask("/v1/completions", body | {"stop": "no such text"})[2]["choices"][0]
    assert json.loads(without["text"]) == "want a wife and STOP here"


def test_a_character_of_several_tokens_comes_whole(live):
    """llama.cpp#4036: split UTF-8 in the stream."""
    text = "🙂é漢字🙂"
    body = {"model": "plain", "prompt": "x", "max_tokens": 200, "response_format": literally(text), "stream": True}
    chunks = [json.loads(chunk)["choices"][0]["text"] for chunk in live.events("/v1/completions", body)[:-1]]
    assert json.loads("".join(chunks)) == text and "\ufffd" not in "".join(chunks)


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions"])
def test_a_prompt_that_is_too_long_is_refused(live, path):
    """ollama#4967: it was cut without a word."""
    text = "\x00" * 70_000 + "x"
    asked = (
        {"prompt": text, "model": "plain"}
        if "chat" not in path
        else {"messages": [{"role": "user", "content": "é" * 40_000}], "model": "chat"}
    )
    status, _, body = live.ask(path, asked)
    assert status == 400 and body["error"]["code"] == "context_length_exceeded"
    assert "65,536" in body["error"]["message"]


def test_a_second_request_lets_the_first_one_be(live):
    """llama-cpp-python#867: it killed the first."""
    asked = {"model": "plain", "prompt": "It is", "max_tokens": 400, "min_tokens": 400}
    answers = [None] * 4

    def ask(number):
        answers[number] = live.ask("/v1/completions", asked)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [status for status, _, _ in answers] == [200] * 4
    assert len({body["choices"][0]["text"] for _, _, body in answers}) == 1


def test_a_completion_lacks_nothing(live):
    """TGI#2211: no reason, no log-probabilities, no usage."""
    asked = {"model": "plain", "prompt": "It is", "max_tokens": 4, "min_tokens": 4, "logprobs": 2}
    status, _, body = live.ask("/v1/completions", asked)
    choice = body["choices"][0]
    assert status == 200 and choice["finish_reason"] == "length" and body["object"] == "text_completion"
    assert body["usage"]["completion_tokens"] == 4 == len(choice["logprobs"]["tokens"])
    assert all(2 <= len(each) <= 3 for each in choice["logprobs"]["top_logprobs"])
    assert choice["logprobs"]["text_offset"][0] == 0


def test_a_seed_gives_the_same_text(live):
    """llama.cpp#7381: the seed was ignored."""
    asked = {"model": "plain", "prompt": "It is", "max_tokens": 16, "temperature": 1.2}
    texts = [live.ask("/v1/completions", asked | {"seed": seed})[2]["choices"][0]["text"] for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]
    free = {live.ask("/v1/completions", asked)[2]["choices"][0]["text"] for _ in range(3)}
    assert len(free) > 1


def test_a_text_begins_once(live):
    """llama-cpp-python#1501: the token that begins a text was doubled."""

    def read(path, body, model):
        asked = {"model": model, "max_tokens": 0, "echo": True, "logprobs": 0} | body
        return live.ask(path, asked)[2]["choices"][0]["logprobs"]["tokens"]

    for prompt in ("It is", "<|begin|>It is"):
        assert read("/v1/completions", {"prompt": prompt}, "plain").count("<|begin|>") == 1
    rendered = "<|begin|><|turn|>user: Hello<|end|><|turn|>assistant: "
    count = live.ask("/v1/chat/completions", {"model": "chat", "messages": HELLO})[2]["usage"]["prompt_tokens"]
    assert count == len(read("/v1/completions", {"prompt": rendered}, "chat"))
    said = [{"role": "user", "content": "<|begin|><|turn|>"}]
    spelled = live.ask("/v1/chat/completions", {"model": "chat", "messages": said})[2]["usage"]["prompt_tokens"]
    assert spelled > count + 2  # what a person writes is text
