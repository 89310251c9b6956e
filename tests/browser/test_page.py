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


def test_at_200_percent_nothing_is_out_of_reach(translation):
    translation.set_viewport_size({"width": 640, "height": 400})  # a window of 1280 × 800
    for state in (*LEVELS, "level=head&cross=true", *(f"level=panel&panel={name}" for name in (*PANELS, "beams"))):
        show(translation, state)
        assert translation.evaluate("document.scrollingElement.scrollWidth") <= 640, state
    show(translation, "level=head&path=decoder.blocks.0.self_attention.scores&index=0,0,0,0")
    assert translation.locator(".number").bounding_box()["height"] <= 200
    close = translation.locator(".number button[aria-label=Close]")
    assert close.is_visible()
    close.click()
    settle(translation)
    assert translation.locator(".number").count() == 0


def test_a_number_s_card_covers_neither_its_number_nor_half_the_view(shown):
    shown.set_viewport_size({"width": 1200, "height": 640})
    path = "decoder.blocks.1.self_attention.head_context"
    show(shown, f"level=head&layer=1&head=1&path={path}&index=0,1,2,7")
    card, cell = (shown.locator(selector).bounding_box() for selector in (".number", "td.at"))
    assert card["height"] <= 320 and cell["y"] + cell["height"] <= card["y"]


def test_the_algorithm_scrolls_to_where_the_reader_is(shown):
    shown.set_viewport_size({"width": 1200, "height": 420})
    for path in ("to_logits.logits", "token_embedding.output", "decoder.blocks.1.feed_forward.output"):
        show(shown, f"level=layer&layer=1&point={path}")
        outline, step = (shown.locator(selector).bounding_box() for selector in ("#outline", ".step.at"))
        assert outline["y"] <= step["y"] and step["y"] + step["height"] <= outline["y"] + outline["height"], path


def test_a_term_explains_itself_and_what_it_did_here(shown):
    show(shown, "level=head&layer=1&head=0")
    shown.locator("button.term:text-is('softmax')").first.click()
    dialog = shown.locator("dialog")
    (softmax,) = [
        substep["sentence"]
        for section in manifest_of(shown)["outline"]
        for step in section["steps"]
        for substep in step["substeps"]
        if substep["id"] == "decoder.blocks.1.self_attention.softmax"
    ]
    assert "together they are 1" in dialog.inner_text() and softmax in dialog.inner_text()
    dialog.locator("button:has-text('show it')").click()
    settle(shown)
    assert not dialog.is_visible() and shown.locator(".card.pointed h3").inner_text() == "Weights"


def test_a_beam_opens_at_its_own_token(page, translator):
    with served(translator, "ein hund") as address:
        look_at(page, address)
        show(page, "level=panel&panel=beams")
        nodes = page.evaluate("fetch('api/runs/0/views/beams').then(answer => answer.json())")["nodes"]
        chips = page.locator("ul.beams button.mini")
        assert chips.count() == len(nodes)
        chips.nth(1).click()  # drawn depth first: below the first one, if that one went on
        page.wait_for_selector("#crumb:has-text('cross-head')")
        settle(page)
        target = page.locator(".tok.template, .tok:not(.new)").all_inner_texts()
        told = page.evaluate("fetch('api/runs/1/manifest').then(answer => answer.json())")
        assert told["target_ids"] and told["prompt_length"] == 1 + len(told["target_ids"])
        assert len(target) >= told["prompt_length"]
        paths = [[node["token"]] for node in nodes if node["parent"] is None]
        assert told["target_ids"][:1] in paths


def test_what_was_fetched_is_kept_as_far_as_memory_goes(shown):
    found = shown.evaluate(
        """async () => {
            const { Kept } = await import("./data.js");
            const kept = new Kept(100), fetched = [];
            const get = (key, bytes) => kept.once(key, async () => {
                fetched.push(key);
                return { value: key, bytes };
            });
            for (const key of ["a", "b", "a", "c", "a", "b"]) await get(key, 40);
            await kept.once("broken", () => Promise.reject(new Error("no"))).catch(() => {});
            return { fetched, names: [...kept.entries.keys()], used: kept.used };
        }"""
    )
    assert found == {"fetched": ["a", "b", "c", "b"], "names": ["a", "b"], "used": 80}


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
