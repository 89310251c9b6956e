"""The page in Chromium: its numbers are Python's, and it can be used by keyboard, by link and on a narrow screen."""

import subprocess
import sys

import pytest
from browsing import HOSTILE, look_at, numbers_on, served, settle, show

import openbook
from openbook.explanation.run import explain

LEVELS = ["level=answer", "level=model", "level=layer&layer=0", "level=head&layer=0&head=1"]
PANELS = ["choice", "tokenizer", "positions", "cache", "file", "summary"]


def manifest_of(page):
    return page.evaluate("fetch('api/runs/0/manifest').then(answer => answer.json())")


@pytest.fixture
def shown(page, decoder_page):
    look_at(page, decoder_page)
    return page


@pytest.fixture
def translation(page, translator_page):
    look_at(page, translator_page)
    return page


@pytest.mark.parametrize("state", LEVELS[2:])
def test_numbers_are_those_of_python(shown, decoder, state):
    model = openbook.load(decoder)
    prompt = [token["id"] for token in manifest_of(shown)["tokens"][:3]]
    trace = explain(model.transformer, prompt).trace
    show(shown, state)
    numbers = numbers_on(shown)
    assert len(numbers) > 50
    for key, value in numbers.items():
        step, path, index = key.split("|")
        assert step == "0"
        expected = trace[path].value[tuple(map(int, index.split(",")))].item()
        assert value == expected or abs(value - expected) <= 1e-5 * max(1, abs(expected)), key


def test_numbers_of_cross_attention_are_those_of_python(translation, translator):
    model = openbook.load(translator)
    told = manifest_of(translation)
    source = [token["id"] for token in told["source"]]
    run = explain(model.transformer, [told["tokens"][0]["id"]], source=source)
    show(translation, "level=head&cross=true")
    numbers = numbers_on(translation)
    paths = {key.split("|")[1].rsplit(".", 1)[1] for key in numbers}
    assert {"scores", "weights", "head_context"} <= paths
    for key, value in numbers.items():
        _, path, index = key.split("|")
        expected = run.trace[path].value[tuple(map(int, index.split(",")))].item()
        assert abs(value - expected) <= 1e-5 * max(1, abs(expected)), key


def test_a_number_opens_down_to_a_weight(shown):
    show(shown, "level=head&layer=1&head=1")
    shown.click("td[data-key='0|decoder.blocks.1.self_attention.weights|0,1,2,0']")
    settle(shown)
    card = shown.locator(".number")
    assert "recomputed" in card.inner_text() and "✗" not in card.inner_text()
    assert shown.locator("math").count() >= 2
    assert shown.locator("td.op").count() == 3  # the masked scores of the row, of which softmax takes the share
    for name in ("masked scores", "scores", "rotated query", "query"):
        row = card.locator(".operands > div", has_text=name).first
        row.locator("button.value").first.click()
        settle(shown)
    assert "query.weight" in card.inner_text() and "of the model file" in card.inner_text()


@pytest.mark.parametrize("state", [*LEVELS, *(f"level=panel&panel={name}" for name in PANELS)])
def test_every_view_of_a_decoder_is_drawn(shown, state):
    show(shown, state)
    assert shown.locator("h1").inner_text()
    assert shown.locator(".problem:visible").all_inner_texts() == []


@pytest.mark.parametrize(
    "state",
    [
        *LEVELS,
        "level=layer&stack=encoder",
        "level=head&stack=encoder&head=1",
        "level=head&cross=true&step=1",
        *(f"level=panel&panel={name}" for name in (*PANELS, "beams")),
    ],
)
def test_every_view_of_a_translator_is_drawn(translation, state):
    show(translation, state)
    assert translation.locator("h1").inner_text()
    assert translation.locator(".problem:visible").all_inner_texts() == []


@pytest.mark.parametrize("name", ["shown", "translation"])
def test_the_walk_leads_from_text_to_the_second_token(request, name):
    page = request.getfixturevalue(name)
    stops = manifest_of(page)["path"]
    assert 12 <= len(stops) <= 30
    assert stops[-1]["step"] >= 1
    page.keyboard.press("n")
    settle(page)
    for number, stop in enumerate(stops, 1):
        assert f"{number} of {len(stops)}" in page.locator(".guide").inner_text()
        assert stop["sentence"] in page.locator(".guide").inner_text()
        assert page.locator(".problem:visible").all_inner_texts() == []
        page.keyboard.press("n")
        settle(page)
    page.keyboard.press("p")
    settle(page)
    assert f"{len(stops) - 1} of {len(stops)}" in page.locator(".guide").inner_text()


def test_the_keyboard_alone_reaches_a_number(shown):
    for key in "4":
        shown.keyboard.press(key)
    settle(shown)
    shown.locator("table.numbers td[tabindex='0']").first.focus()
    shown.keyboard.press("ArrowDown")
    settle(shown)
    shown.keyboard.press("ArrowDown")
    settle(shown)
    assert "scores [h = 0, t = 2" in shown.locator(".number h3").inner_text()
    assert shown.evaluate("document.activeElement.dataset.cell") == "2,0"
    titles = []
    for _ in range(4):
        shown.keyboard.press("Escape")
        settle(shown)
        titles.append(shown.locator("#crumb").inner_text().split("›")[-1].strip())
    assert titles == ["head 0", "layer 0", "model", "answer"]


def test_a_link_reproduces_the_view(shown):
    state = "level=head&layer=1&head=1&row=1&path=decoder.blocks.1.self_attention.scores&index=0,1,1,0"
    show(shown, state)
    before = shown.locator(".number").inner_text()
    shown.reload()
    shown.wait_for_selector(".number math")
    settle(shown)
    assert shown.locator(".number").inner_text() == before


def test_a_narrow_window_does_not_scroll_sideways(shown):
    shown.set_viewport_size({"width": 400, "height": 800})
    for state in LEVELS:
        show(shown, state)
        assert shown.evaluate("document.scrollingElement.scrollWidth") <= 400, state


def test_a_screen_reader_finds_tokens_algorithm_and_numbers(shown):
    show(shown, "level=head&layer=0&head=0")
    tree = shown.locator("body").aria_snapshot()
    for part in ('group "Tokens"', 'navigation "The algorithm"', "heading", "grid", "gridcell", 'button "Next"'):
        assert part in tree or part == 'button "Next"', part
    shown.keyboard.press("n")
    settle(shown)
    assert 'button "Next"' in shown.locator("body").aria_snapshot()


def test_sliders_choose_again(shown):
    show(shown, "level=panel&panel=choice")
    before = shown.locator(".choice-result").inner_text()
    shown.locator("input[name=temperature]").fill("2")
    shown.wait_for_timeout(1000)
    assert shown.locator(".choice-result").inner_text() != before
    assert shown.locator(".ruler .needle").count() == 1


def test_markup_in_tokens_stays_text(page, decoder):
    with served(decoder, HOSTILE, "--max-tokens", "2") as address:
        look_at(page, address)
        for state in (*LEVELS, "level=panel&panel=tokenizer"):
            show(page, state)
            assert page.locator("img").count() == 0
            assert page.title() != "run"
        assert "onerror" in page.locator(".transcript, #strip").first.inner_text() or page.locator(".tok").count() > 5


def test_ask_again(page, decoder):
    with served(decoder, "what is openbook") as address:
        look_at(page, address)
        page.fill("textarea", "the cat sat")
        page.click("button.main:has-text('Run')")
        page.wait_for_selector(".transcript:has-text('the cat sat')")
        settle(page)
        assert "on the mat" in page.locator(".transcript").inner_text()


def test_a_file_opens_from_disk_and_asks_for_nothing(page, decoder, tmp_path):
    target = tmp_path / "run.html"
    command = [sys.executable, "-m", "openbook", "explain", str(decoder), "what is openbook", "--html", str(target)]
    subprocess.run(command, check=True, capture_output=True)
    assert target.stat().st_size < 2_000_000
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    look_at(page, target.as_uri())
    model = openbook.load(decoder)
    trace = explain(model.transformer, model.tokenizer.encode("what is openbook")).trace
    for state in (*LEVELS, "level=panel&panel=tokenizer", "level=panel&panel=file"):
        show(page, state)
        assert page.locator(".problem:visible").all_inner_texts() == [], state
    show(page, "level=head&layer=1&head=1&path=decoder.blocks.1.self_attention.scores&index=0,1,1,0")
    expected = trace["decoder.blocks.1.self_attention.scores"].value[0, 1, 1, 0].item()
    assert abs(numbers_on(page)["0|decoder.blocks.1.self_attention.scores|0,1,1,0"] - expected) < 1e-5
    assert "✓" in page.locator(".number").inner_text()
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
