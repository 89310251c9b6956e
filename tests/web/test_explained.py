"""Explained answers: kept by a secret key, bounded in count and memory, gone with their model."""

import asyncio

import pytest
from paged import paged

from openbook.web.explained import ExplainedAnswers
from openbook.web.serve.errors import ApiError
from strategies import DEFAULT


class Served:
    """Stands for a model, of which only the identity counts here."""


@pytest.fixture(scope="module")
def page():
    return paged(DEFAULT)


def add(answers, page, model=None):
    return answers.add(model or Served(), lambda: page, {"prompt": "", "target": "", "raw": False, "settings": {}}, {})


def status(answers, key):
    """Of the manifest under a key."""
    sent = []
    scope = {"type": "http", "method": "GET", "path": "/explain/k/api/runs/0/manifest", "root_path": "/explain/k"}
    scope |= {"path_params": {"key": key}, "headers": [], "query_string": b""}

    async def send(message):
        sent.append(message)

    async def receive():
        return {"type": "http.request", "body": b""}

    asyncio.run(answers(scope, receive, send))
    return sent[0]["status"]


def is_kept(answers, key):
    try:
        return status(answers, key) == 200
    except ApiError as error:
        assert error.status == 404
        return False


def test_keys_are_secret_and_differ(page):
    answers = ExplainedAnswers()
    one, other = add(answers, page), add(answers, page)
    assert one != other and len(one) >= 20
    assert is_kept(answers, one) and is_kept(answers, other) and not is_kept(answers, "guess")


def test_the_longest_unused_goes(page):
    answers = ExplainedAnswers(most=2)
    first, second = add(answers, page), add(answers, page)
    assert is_kept(answers, first)  # and so used
    third = add(answers, page)
    assert [is_kept(answers, key) for key in (first, second, third)] == [True, False, True]


def test_memory_is_bounded_but_for_the_newest(page):
    answers = ExplainedAnswers(most_bytes=2 * page.run.kept_bytes)
    keys = [add(answers, page) for _ in range(3)]
    assert [is_kept(answers, key) for key in keys] == [False, True, True]
    tight = ExplainedAnswers(most_bytes=1)
    keys = [add(tight, page) for _ in range(2)]
    assert [is_kept(tight, key) for key in keys] == [False, True]


def test_they_go_with_their_model(page):
    answers, stays, leaves = ExplainedAnswers(), Served(), Served()
    kept, gone = add(answers, page, stays), add(answers, page, leaves)
    answers.drop(lambda model: model is stays)
    assert is_kept(answers, kept) and not is_kept(answers, gone)
