"""/v1/explain: an answer computed again with its own tokens; /tokenize, /detokenize, /tokenizer_info."""

import math

import numpy as np
import pytest
from safetensors.numpy import load

CHAT = {
    "model": "chat",
    "messages": [{"role": "user", "content": "Hello"}],
    "max_tokens": 6,
    "logprobs": True,
    "top_logprobs": 3,
}


def answered(live, **fields):
    """The tokens of an answer with what the server says of them."""
    status, _, body = live.ask("/v1/chat/completions", CHAT | fields)
    assert status == 200, body
    return body["choices"][0]["logprobs"]["content"]


def explained(live, body):
    status, _, found = live.ask("/v1/explain", body)
    assert status == 200, found
    return found, live.ask(found["manifest"])[2]


@pytest.mark.parametrize("settings", [{"temperature": 0}, {"temperature": 1.5, "seed": 7, "top_k": 50}])
def test_a_token_opens_exactly_its_step(live, settings):
    tokens = answered(live, **settings)
    written = [token["id"] for token in tokens]
    found, manifest = explained(live, CHAT | settings | {"written": written, "token": 3})
    assert found["url"].endswith("/#step=3")
    assert [step["id"] for step in manifest["steps"]] == written
    assert [token["id"] for token in manifest["tokens"]][manifest["prompt_length"] :] == written
    for step, token in zip(manifest["steps"], tokens, strict=True):
        assert step["probability"] == pytest.approx(math.exp(token["logprob"]), rel=1e-3)
        known = {each["id"]: each["probability"] for each in [step, *step["alternatives"]]}
        for other in token["top_logprobs"]:
            assert known[other["id"]] == pytest.approx(math.exp(other["logprob"]), rel=1e-3)
    choice = live.ask(found["manifest"].replace("manifest", "views/choice") + "?step=3")[2]
    assert choice["chosen"]["id"] == written[3]  # the same settings, penalties and draw choose it again


def test_its_numbers_can_be_read(live):
    written = [token["id"] for token in answered(live)]
    found, _ = explained(live, CHAT | {"temperature": 0, "written": written[:3], "token": 2})
    runs = found["manifest"].removesuffix("/manifest")
    path = "decoder.blocks.0.self_attention.weights"
    body = live.ask(f"{runs}/slices", {"slices": [{"step": 2, "path": path}]})[2]
    weights = load(body)["0"]
    assert np.allclose(weights.sum(-1), 1, atol=1e-5)
    page = found["url"].partition("#")[0]
    assert b"<!doctype html>" in live.ask(page)[2].lower()
    assert live.ask(f"{page}main.js")[0] == 200
    assert live.ask(f"{page}api/runs", {"prompt": "More"})[2] == {"run": 1}


def test_completions_and_translations_too(live):
    asked = {"model": "chat", "prompt": "It is", "temperature": 0, "max_tokens": 3, "logprobs": 1}
    body = live.ask("/v1/completions", asked)[2]
    written = body["choices"][0]["logprobs"]["token_ids"]
    manifest = explained(live, asked | {"written": written, "token": 1})[1]
    assert [step["id"] for step in manifest["steps"]] == written
    sentence = {"model": "translator", "prompt": "a b", "translation": "b a", "source": "source", "target": "target"}
    manifest = explained(live, sentence)[1]
    assert manifest["source"] and manifest["answer"]["text"].strip() == "b a"
    anew = explained(live, {"model": "translator", "prompt": "a b", "source": "source", "token": 2})[1]
    assert len(anew["steps"]) <= 3


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"token": 5, "written": [1, 2]}, "token"),
        ({"written": [10**6]}, "written"),
        ({"written": []}, "written"),
        ({"temperature": 1}, "seed"),
        ({"nonsense": 1}, "nonsense"),
        ({"messages": []}, "messages"),
    ],
)
def test_mistakes_name_the_field(live, fields, said):
    status, _, body = live.ask("/v1/explain", CHAT | {"temperature": 0, "written": [1]} | fields)
    assert status == 400 and said in body["error"]["message"]


def test_only_some_answers_are_kept(live):
    body = CHAT | {"temperature": 0, "written": [5], "token": 0}
    first = live.ask("/v1/explain", body)[2]
    for _ in range(8):
        live.ask("/v1/explain", body)
    status, _, gone = live.ask(first["manifest"])
    assert status == 404 and "no longer kept" in gone["error"]["message"]


def test_tokens_and_back(live):
    asked = {"prompt": "It is a truth", "add_special_tokens": False}
    found = live.ask("/tokenize", asked | {"return_token_strs": True})[2]
    assert found["count"] == len(found["tokens"]) == len(found["token_strs"])
    assert "".join(found["token_strs"]) == "It is a truth"
    assert live.ask("/detokenize", {"tokens": found["tokens"]})[2]["prompt"] == "It is a truth"
    info = live.ask("/tokenizer_info?model=chat")[2]
    (end,) = live.ask("/tokenize", {"prompt": info["eos_token"], "add_special_tokens": False})[2]["tokens"]
    assert live.ask("/detokenize", {"tokens": [end]})[2]["prompt"] == info["eos_token"] == "<|end|>"
    assert "assistant" in info["chat_template"] and {"bos_token", "pad_token"} <= info.keys()


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/tokenize", {}),
        ("/tokenize", {"prompt": "a", "messages": [{"role": "user", "content": "b"}]}),
        ("/tokenize", {"prompt": "a", "add_generation_prompt": True}),
        ("/tokenize", {"prompt": "a", "nonsense": 1}),
        ("/detokenize", {"tokens": [10**6]}),
        ("/detokenize", {"tokens": ["a"]}),
    ],
)
def test_wrong_tokens_are_refused(live, path, body):
    assert live.ask(path, body)[0] == 400
