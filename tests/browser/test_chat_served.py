"""The page to talk with `openbook serve` behind it: answers, probabilities and explanations are those of the model."""

import math
from dataclasses import replace

import pytest
from browsing import settle, watch
from playwright.sync_api import expect
from talking import messages, open_page, ready, say

import openbook
from live_server import serving

TEMPLATE = "{% for message in messages %}{{ message.content }}{% endfor %}"
KEY = "a key for the pages too"


@pytest.fixture(scope="module")
def chatty(decoder, tmp_path_factory):
    """The model that has learned three answers, with a chat template."""
    model = openbook.load(decoder)
    model.metadata = replace(model.metadata, chat_template=TEMPLATE)
    path = tmp_path_factory.mktemp("served") / "chatty.openbook"
    model.save(path)
    return path


@pytest.fixture(scope="module")
def server(chatty, decoder, translator, tmp_path_factory):
    folder = tmp_path_factory.mktemp("server")
    with serving(folder, chatty, decoder, translator, options=("--api-key", KEY)) as server:
        yield server


@pytest.fixture
def talk(browser, server):
    """The page, in a browser whose owner has typed the key; the test fails if anything goes wrong in it."""
    context = browser.new_context(http_credentials={"username": "me", "password": KEY})
    page = context.new_page()
    page.set_default_timeout(20_000)
    wrong = watch(page)
    open_page(page, f"{server.url}/")
    page.click("button:text-is('Settings')")
    page.fill("#settings input[name=temperature]", "0")
    page.click("button:text-is('Settings')")
    yield page
    context.close()
    assert [each for each in wrong if "401" not in each] == []  # a browser sends no key before it is asked


def test_without_the_key_there_is_no_page(browser, server):
    context = browser.new_context()
    for path in ("/", "/chat/", "/chat/main.js", "/page/theme.css", "/v1/models"):
        answer = context.request.get(server.url + path)
        assert answer.status == 401 and answer.headers["www-authenticate"].startswith("Basic"), path
    context.close()


def test_talk_and_keep_it(talk, chatty):
    model = openbook.load(chatty)
    for prompt in ("what is openbook", "the cat sat"):
        talk.click("#side button:has-text('New conversation')")
        say(talk, prompt)
        assert messages(talk) == [prompt, model.ask(prompt, temperature=0).strip()]
    talk.reload()
    ready(talk)
    assert messages(talk)[0] == "the cat sat"


def test_probabilities_are_the_models(talk, chatty):
    say(talk, "the cat sat")
    (answer,) = openbook.load(chatty).generate("the cat sat", temperature=0)
    talk.click("article.from-assistant button:has-text('tokens')")
    shown = talk.locator("button.t")
    assert shown.count() == len(answer.tokens)
    for number, token in enumerate(answer.tokens):
        shown.nth(number).click()
        fill = talk.locator("#token-card .fill").first.evaluate("fill => fill.style.width")
        assert math.isclose(float(fill.rstrip("%")), 100 * token.probability, abs_tol=0.01)


def test_look_inside_opens_exactly_that_step(talk, chatty):
    say(talk, "the cat sat")
    talk.click("article.from-assistant button:has-text('tokens')")
    second = talk.locator("button.t").nth(1)
    second.click()
    with talk.expect_popup() as popup:
        talk.click("#token-card button:has-text('Look inside')")
    inside = popup.value
    settle(inside)
    expect(inside.locator(".steps")).to_contain_text("step 2 of")
    manifest = inside.evaluate("fetch('api/runs/0/manifest').then((answer) => answer.json())")
    (answer,) = openbook.load(chatty).generate("the cat sat", temperature=0)
    assert manifest["steps"][1]["id"] == answer.tokens[1].token_id
    assert math.isclose(manifest["steps"][1]["probability"], answer.tokens[1].probability, rel_tol=1e-3)


def test_a_sampled_answer_can_be_looked_into(talk):
    talk.click("button:text-is('Settings')")
    talk.fill("#settings input[name=temperature]", "1.5")
    talk.fill("#settings input[name=max_tokens]", "3")
    say(talk, "openbook is")
    talk.click("article.from-assistant button:has-text('tokens')")
    talk.locator("button.t").last.click()
    shown = talk.locator("button.t").count()
    with talk.expect_popup() as popup:
        talk.click("#token-card button:has-text('Look inside')")
    settle(popup.value)
    expect(popup.value.locator(".steps")).to_contain_text(f"step {shown} of {shown}")


def test_a_runner_up_instead(talk):
    say(talk, "the cat sat")
    talk.click("article.from-assistant button:has-text('tokens')")
    talk.locator("button.t").nth(1).click()
    talk.locator("#token-card button:has-text('take it')").first.click()
    ready(talk)
    expect(talk.locator("article.from-assistant .branches")).to_contain_text("2/2")
    assert talk.locator("article .problem:visible").all_inner_texts() == []


def test_a_text_goes_on_and_a_sentence_is_translated(talk, decoder, translator):
    talk.select_option("select[aria-label=Model]", decoder.stem)
    say(talk, "the cat sat")
    assert messages(talk)[1] == openbook.load(decoder).ask("the cat sat", temperature=0, raw=True)
    talk.select_option("select[aria-label=Model]", translator.stem)
    talk.fill("#translate textarea", "ein hund\nder hund")
    talk.keyboard.press("Control+Enter")
    expect(talk.locator(".translation")).to_have_text(["a dog", "the dog"])
    with talk.expect_popup() as popup:
        talk.locator("button:has-text('look inside')").first.click()
    settle(popup.value)
    assert "ein" in popup.value.locator("#strip").inner_text()
