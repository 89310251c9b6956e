"""What strangers and accidents bring: odd prompts, damaged models, changed files, a command that ends."""

import re
import signal

import pytest
import torch
from browsing import look_at, process_of, served, settle, show

import openbook
from openbook.explanation.page.html_file import page_html
from openbook.web.model_runs import page_run

ODD = {
    "half a surrogate pair": "half \ud800 a pair",
    "bidirectional controls": "\u202eright \u2066to left",
    "markup": "<img src=x onerror=\"document.title='run'\"></script><b>",
    "control characters": "a\x1b[31m b\x07 c",
    "combining marks": "e\u0301\u0301\u0301 \u0e33",
}


@pytest.fixture
def shown(page, decoder_page):
    look_at(page, decoder_page)
    return page


def ask(page, prompt):
    """What the page says about a prompt that is typed into it; nothing where it is answered."""
    page.evaluate("prompt => { document.querySelector('textarea').value = prompt; }", prompt)
    page.click("button.main:has-text('Run')")
    said = page.locator("section[aria-label='Ask again'] .problem")
    busy = "said => said.isConnected && said.textContent.startsWith('Running')"
    page.wait_for_function(f"said => !({busy})(said)", arg=said.element_handle())
    settle(page)
    return said.inner_text()


@pytest.mark.parametrize("name", ODD)
def test_an_odd_prompt_is_shown_as_text(shown, name):
    show(shown, "level=answer")
    assert ask(shown, ODD[name]) == ""
    for state in ("level=answer", "level=model", "level=head&layer=0&head=1", "level=panel&panel=tokenizer"):
        show(shown, state)
        assert shown.locator(".problem:visible").all_inner_texts() == []
    assert shown.locator("img").count() == 0 and shown.title() != "run"
    assert "\u202e" not in shown.locator("#strip").inner_text()


def test_a_prompt_that_is_too_long_is_refused_and_the_page_stays(page, decoder):
    with served(decoder, "what is openbook") as address:
        context = page.context.new_page()  # refusals are errors in the console; this page is not watched
        look_at(context, address)
        assert re.search(r"the prompt has [\d,]+ tokens; at most 128 can be explained", ask(context, "a " * 10_000))
        assert ask(context, "") == "the prompt has no tokens; give at least one word to explain"
        assert "what is openbook" in context.locator(".transcript").inner_text()


def test_numbers_that_are_not_finite_are_shown_and_found(page, decoder, tmp_path):
    model = openbook.load(decoder)
    with torch.no_grad():
        model.transformer.decoder.blocks[1].feed_forward.up.weight[3, 2] = torch.nan
    broken = tmp_path / "broken.openbook"
    model.save(broken)
    with served(broken, "what is openbook") as address:
        look_at(page, address)
        assert "no token could be chosen" in page.locator(".warning").inner_text()
        for state in ("level=model", "level=model&color=contribution", "level=layer&layer=1", "level=head&layer=1"):
            show(page, state)
            assert page.locator(".problem:visible").all_inner_texts() == [], state
        show(page, "level=answer")
        page.locator(".warning button").click()
        settle(page)
        card = page.locator(".number").inner_text()
        assert "layer 1 · feed forward · up" in card and "NaN" in card and "✗" not in card
        page.locator(".number button:has-text('all terms')").or_(page.locator(".number h3")).first.click()
        settle(page)
        assert "feed_forward.up.weight" in page.locator(".number").inner_text()


def test_a_file_that_changed_meanwhile_is_said(page, decoder, tmp_path):
    copy = tmp_path / "copy.openbook"
    copy.write_bytes(decoder.read_bytes())
    with served(copy, "what is openbook") as address:
        look_at(page, address)
        assert page.locator(".problem:visible").count() == 0
        copy.unlink()
        page.reload()
        settle(page)
        assert "copy.openbook is gone on disk since it was opened" in page.locator(".warning").inner_text()


def test_ctrl_c_ends_the_command_and_the_page_says_so(page, decoder):
    unwatched = page.context.new_page()
    with served(decoder, "what is openbook") as address:
        look_at(unwatched, address)
        process = process_of(address)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        unwatched.keyboard.press("3")
        settle(unwatched)
        assert "is the command still running" in unwatched.locator("#view").inner_text()


def test_the_file_with_the_page_says_what_it_does_not_carry(page, decoder, tmp_path):
    target = tmp_path / "small.html"
    model = openbook.load(decoder)
    whole = page_html(page_run(model, "what is openbook"))[0]
    content, left_out = page_html(page_run(model, "what is openbook"), len(whole) - 30_000)
    assert left_out
    target.write_text(content)
    look_at(page, target.as_uri())
    assert "does not carry" in page.locator(".warning").inner_text()
    page.click(".warning summary")
    assert left_out[0] in page.locator(".warning").inner_text()
