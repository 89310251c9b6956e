"""The page's application: manifest, steps, slices, derivations, views, other runs; mistakes are one line."""

import json

import numpy as np
import pytest
from paged import paged
from safetensors.numpy import load
from starlette.applications import Starlette
from starlette.routing import Mount
from test_guard import ask

from openbook.errors import OpenbookError
from openbook.web.app import page_app
from openbook.web.runs import KEPT, Runs
from strategies import DEFAULT

WEIGHTS = "decoder.blocks.0.self_attention.weights"


@pytest.fixture(scope="module")
def runs():
    def start(wanted):
        if wanted.get("prompt") == "wrong":
            raise OpenbookError("a wrong prompt")
        return paged(DEFAULT, prompt=[1, 2])

    return Runs(paged(DEFAULT), start)


@pytest.fixture(scope="module")
def app(runs):
    return page_app(runs)


def post(app, path, body):
    """Status and body of the answer to a request with a body."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    status, _, answer = ask(app, path, method="POST", body=content)
    return status, answer


def test_it_gives_the_manifest_and_the_steps(app, runs):
    status, head, body = ask(app, "/api/runs/0/manifest")
    manifest = json.loads(body)
    assert status == 200 and head["content-type"] == "application/json"
    assert (manifest["door"], manifest["run"]) == ("server", 0)
    assert [token["id"] for token in manifest["tokens"]] == runs[0].run.tokens
    step = json.loads(ask(app, "/api/runs/0/steps/1")[2])
    assert [each["path"] for each in step["quantities"]] == list(runs[0].run.trace(1))


def test_it_gives_slices_derivations_and_views(app, runs):
    status, body = post(app, "/api/runs/0/slices", {"slices": [{"step": 1, "path": WEIGHTS}]})
    assert status == 200
    assert np.array_equal(load(body)["0"], runs[0].run.trace(1)[WEIGHTS].value.numpy())
    query = f"step=0&path={WEIGHTS}&index=0,1,3,2&terms=all"
    found = json.loads(ask(app, "/api/runs/0/derivation", query)[2])
    assert found["recorded"] == runs[0].run.trace(0)[WEIGHTS].value[0, 1, 3, 2].item()
    assert json.loads(ask(app, "/api/runs/0/views/choice", "step=0")[2])["chosen"]["id"] == runs[0].run.tokens[4]


def test_it_gives_the_page_s_files_and_their_kind(app):
    assert b"<!doctype html>" in ask(app, "/")[2].lower()
    assert "javascript" in ask(app, "/main.js")[1]["content-type"]
    assert ask(app, "/../app.py")[0] in (400, 404)
    assert ask(app, "/none.js")[0] == 404


def test_it_can_be_mounted_beside_others(app):
    whole = Starlette(routes=[Mount("/explain", app)])
    assert ask(whole, "/explain/api/runs/0/manifest")[0] == 200
    assert ask(whole, "/explain/")[0] == 200


def test_other_prompts_are_runs_of_their_own_and_the_oldest_go(app, runs):
    for expected in range(1, KEPT + 2):
        status, body = post(app, "/api/runs", {"prompt": "two"})
        assert (status, json.loads(body)) == (200, {"run": expected})
    assert json.loads(ask(app, f"/api/runs/{KEPT + 1}/manifest")[2])["prompt_length"] == 2
    assert ask(app, "/api/runs/0/manifest")[0] == 200  # the first one stays
    status, _, body = ask(app, "/api/runs/1/manifest")
    assert status == 400 and "run 1 is not kept" in json.loads(body)["error"]


@pytest.mark.parametrize(
    ("path", "query", "said"),
    [
        ("/api/runs/0/steps/9", "", "no step 9"),
        ("/api/runs/0/derivation", f"path={WEIGHTS}&index=0,1", "takes 4 numbers"),
        ("/api/runs/0/derivation", "path=none&index=0", "nothing is recorded"),
        ("/api/runs/0/derivation", f"path={WEIGHTS}&index=0,a,0,0", "whole numbers"),
        ("/api/runs/0/derivation", f"path={WEIGHTS}&index=0,0,0,0&terms=many", "terms"),
        ("/api/runs/0/views/none", "", "no view"),
    ],
)
def test_a_mistake_is_one_line(app, path, query, said):
    status, _, body = ask(app, path, query)
    error = json.loads(body)["error"]
    assert status == 400 and said in error and "\n" not in error


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("/api/runs/0/slices", b"{", "not JSON"),
        ("/api/runs/0/slices", b"[]", "not a JSON object"),
        ("/api/runs/0/slices", b"[" * 100_000, "not JSON"),
        ("/api/runs/0/slices", {"slices": 3}, "list of objects"),
        ("/api/runs/0/slices", b" " * (2**20 + 1), "bytes"),
        ("/api/runs", {"prompt": "wrong"}, "a wrong prompt"),
    ],
)
def test_a_wrong_body_is_one_line(app, path, body, said):
    status, answer = post(app, path, body)
    assert status == 400 and said in json.loads(answer)["error"]
