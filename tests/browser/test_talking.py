"""The page to talk in Chromium, against a server that says what the test wants."""

import json
import re

import pytest
from browsing import HOSTILE
from fake_server import ANSWER, tokens_of
from playwright.sync_api import expect
from talking import SAID, answered, messages, open_page, ready, say

from openbook.training.data.conversation_files import read_conversations


def test_talk(talk, fake):
    say(talk, "what is openbook?")
    assert messages(talk) == ["what is openbook?", SAID]
    assert talk.locator(".body strong").inner_text() == "openbook"
    assert talk.locator(".body em").inner_text() == "awesome"
    say(talk, "really?")
    first, second = answered(fake)
    assert first["messages"] == [{"role": "user", "content": "what is openbook?"}]
    assert second["messages"] == [
        {"role": "user", "content": "what is openbook?"},
        {"role": "assistant", "content": ANSWER},
        {"role": "user", "content": "really?"},
    ]
    assert first["model"] == "tiny-chat" and first["stream"] is True and first["logprobs"] is True
    assert "temperature" not in first and first["seed"] != second["seed"]


def test_stop(talk, fake):
    fake.wait, fake.answers = 0.05, ["one two three four " * 50]
    talk.fill("#composer textarea", "count")
    talk.press("#composer textarea", "Enter")
    talk.wait_for_selector("article.writing span.t")
    expect(talk.locator("#composer button")).to_have_text("Stop")
    talk.keyboard.press("Escape")
    ready(talk)
    expect(talk.locator("article .status").last).to_contain_text("Stopped.")
    text = messages(talk)[1]
    assert text.startswith("one") and len(text) < 900
    fake.wait = 0
    say(talk, "and on")
    assert answered(fake)[1]["messages"][1]["content"].startswith(text)
    for _ in range(500):  # the server learns of it in its own time
        if fake.gone:
            break
        talk.wait_for_timeout(20)
    assert fake.gone == 1


def test_edit_and_branches(talk, fake):
    fake.answers = ["first", "second", "third"]
    say(talk, "one")
    talk.locator("article.from-user button:has-text('edit')").click()
    talk.fill(".edit textarea", "two")
    talk.click(".edit button:has-text('Send')")
    ready(talk)
    assert messages(talk) == ["two", "second"]
    expect(talk.locator("article.from-user .branches")).to_contain_text("2/2")
    talk.click("article.from-assistant button:has-text('again')")
    ready(talk)
    assert messages(talk) == ["two", "third"]
    talk.click("article.from-user [aria-label='Previous branch']")
    assert messages(talk) == ["one", "first"]
    talk.click("article.from-user [aria-label='Next branch']")
    assert messages(talk) == ["two", "third"]
    talk.click("article.from-assistant [aria-label='Previous branch']")
    assert messages(talk) == ["two", "second"]
    talk.reload()
    ready(talk)
    assert messages(talk) == ["two", "second"]
    assert [body["messages"][-1]["content"] for body in answered(fake)] == ["one", "two", "two"]


def test_an_edited_answer_is_a_branch_and_is_not_asked_for(talk, fake):
    say(talk, "one")
    talk.locator("article.from-assistant button:has-text('edit')").click()
    talk.fill(".edit textarea", "better")
    talk.click(".edit button:has-text('Keep')")
    assert messages(talk) == ["one", "better"]
    expect(talk.locator("article .status").last).to_contain_text("Edited by you.")
    assert len(fake.asked) == 1
    say(talk, "and?")
    assert answered(fake)[1]["messages"][1] == {"role": "assistant", "content": "better"}


def test_tokens_and_look_inside(talk, fake):
    say(talk, "what is openbook?")
    talk.locator("article.from-assistant span.t").nth(3).hover()
    card = talk.locator("#token-card")
    assert card.is_visible() and "70 %" in card.inner_text() and "other" in card.inner_text()
    assert "<b>" in card.inner_text()
    talk.click("article.from-assistant button:has-text('tokens')")
    tokens = talk.locator("button.t")
    assert tokens.count() == len(tokens_of(ANSWER))
    talk.keyboard.press("End")
    talk.keyboard.press("ArrowLeft")
    talk.keyboard.press("Enter")
    expect(card.locator("button:has-text('Look inside')")).to_be_focused()
    with talk.expect_popup() as popup:
        talk.keyboard.press("Enter")
    assert popup.value.url.endswith("/page/index.html#level=panel&panel=choice")
    popup.value.close()
    path, body = fake.asked[-1]
    asked = answered(fake)[0]
    assert path == "/v1/explain"
    last = len(tokens_of(ANSWER)) - 2
    assert body == {
        "model": "tiny-chat",
        "messages": asked["messages"],
        "seed": asked["seed"],
        "written": [100 + i for i in range(last + 1)],
        "token": last,
    }
    talk.keyboard.press("Escape")
    expect(card).to_be_hidden()
    expect(tokens.nth(last)).to_be_focused()


@pytest.mark.parametrize(
    "text", ["καλή\tώρα 🙂🙃 نص", "a\n\n- b\n- `c d`\n\n| x | y |\n|---|---|\n| 1 | *2* |\n", "  two"]
)
def test_every_visible_character_belongs_to_its_token(talk, fake, text):
    fake.answers = [text]
    say(talk, "say it")
    pieces = talk.eval_on_selector_all(
        "article.from-assistant span.t", "all => all.map(t => [t.dataset.tokens, t.textContent])"
    )
    shown = "".join(piece for _, piece in pieces)
    assert shown.replace(" ", "") == talk.locator("article.from-assistant .body").evaluate(
        "body => body.textContent"
    ).replace(" ", "")
    for numbers, piece in pieces:
        assert piece in "".join(tokens_of(text)[int(number)] for number in numbers.split(","))


def test_reload_keeps_conversations(talk, serving):
    say(talk, "the first")
    talk.click("#side button:has-text('New conversation')")
    say(talk, "the second")
    talk.reload()
    ready(talk)
    assert messages(talk) == ["the second", SAID]
    assert talk.locator(".entry").all_inner_texts() == ["the second", "the first"]
    talk.click(".entry:has-text('the first')")
    talk.wait_for_selector("article:has-text('the first')")
    assert talk.locator("article span.t").count() > 5
    talk.go_back()
    talk.wait_for_selector("article:has-text('the second')")


def test_rename_and_delete(talk):
    say(talk, "the first")
    talk.click("#side button:text-is('rename')")
    talk.fill("dialog input", "a better name")
    talk.press("dialog input", "Enter")
    expect(talk.locator(".entry")).to_have_text("a better name")
    talk.click("#side button:text-is('delete')")
    talk.click("dialog button:has-text('Cancel')")
    assert talk.locator(".entry").count() == 1
    talk.click("#side button:text-is('delete')")
    talk.click("dialog button:text-is('Delete')")
    expect(talk.locator(".entry")).to_have_count(0)
    talk.reload()
    ready(talk)
    assert talk.locator(".entry").count() == 0 and messages(talk) == []


def test_export_is_read_by_training(talk, fake, tmp_path):
    fake.answers = ["an answer\nof two lines", "“quoted” \\ 🙂\u2028", HOSTILE]
    say(talk, "one")
    say(talk, HOSTILE)
    with talk.expect_download() as download:
        talk.click("#side button:text-is('export')")
    assert re.fullmatch(r"[\w-]+\.jsonl", download.value.suggested_filename)
    download.value.save_as(tmp_path / "one.jsonl")
    (conversation,) = read_conversations(tmp_path / "one.jsonl")
    roles = ["user", "assistant", "user", "assistant"]
    assert [message["role"] for message in conversation.messages] == roles
    written = json.loads((tmp_path / "one.jsonl").read_text(encoding="utf-8"))
    expected = ["one", "an answer\nof two lines", HOSTILE, "“quoted” \\ 🙂\u2028"]
    assert [message["content"] for message in written["messages"]] == expected
    talk.click("#side button:has-text('New conversation')")
    talk.click("button:text-is('Text')")
    say(talk, "Once upon")
    with talk.expect_download() as download:
        talk.click("#side button:has-text('Export all')")
    download.value.save_as(tmp_path / "all.jsonl")
    text, chat = read_conversations(tmp_path / "all.jsonl")
    assert len(chat.messages) == 4
    assert text.messages[0]["content"] == "Once upon"


def test_markup_stays_text(talk, fake):
    fake.answers = [f"{HOSTILE} [x](javascript:alert(1)) ![i](http://127.0.0.1:9/i.png) <svg onload=alert(1)>"]
    say(talk, HOSTILE)
    for _ in range(2):
        assert HOSTILE[:40] in messages(talk)[0] and "<svg onload=alert(1)>" in messages(talk)[1]
        assert talk.locator("article img, article svg, article script, article b").count() == 0
        assert [a for a in talk.eval_on_selector_all("a[href]", "all => all.map(a => a.href)") if "script" in a] == []
        assert talk.title() != "run" and "img src" in talk.locator(".entry").inner_text()
        talk.click("article.from-assistant button:has-text('tokens')")
        assert talk.locator("article img, article svg, article script").count() == 0
        talk.reload()
        ready(talk)


def test_a_text_is_continued(talk, fake):
    fake.answers = [" a time there was", " a book.", "!"]
    talk.select_option("select[aria-label=Model]", "tiny-text")
    assert talk.locator("button:text-is('Chat')").count() == 0
    say(talk, "Once upon")
    talk.click("#composer button:has-text('Go on')")
    ready(talk)
    first, second = answered(fake, "/v1/completions")
    assert first["prompt"] == "Once upon" and second["prompt"] == "Once upon a time there was"
    assert messages(talk)[1:] == [" a time there was", " a book."]
    talk.click("article.from-assistant >> nth=1 >> button:has-text('tokens')")
    talk.locator("button.t").nth(1).click()
    talk.click("#token-card tr:has-text('other') button:has-text('take it')")
    ready(talk)
    assert answered(fake, "/v1/completions")[2]["prompt"] == "Once upon a time there was a  other"
    assert messages(talk)[-1] == " a  other!"
    talk.locator("article.from-assistant").last.locator("button:has-text('tokens')").click()
    talk.keyboard.press("End")
    talk.keyboard.press("Enter")
    with talk.expect_popup() as popup:
        talk.click("#token-card button:has-text('Look inside')")
    popup.value.close()
    body = fake.asked[-1][1]
    assert (body["prompt"], body["written"], body["token"]) == ("Once upon a time there was a  other", [100], 0)


def test_translate(talk, fake):
    talk.select_option("select[aria-label=Model]", "tiny-translator")
    expect(talk.locator("#composer")).to_be_hidden()
    talk.fill("#translate textarea", f"ein hund\n\n{HOSTILE}")
    talk.keyboard.press("Control+Enter")
    expect(talk.locator(".translation").first).to_have_text("EIN HUND")
    assert HOSTILE.upper()[:30] in talk.locator(".translation").last.inner_text()
    assert talk.locator("#translate img").count() == 0
    body = fake.asked[-1][1]
    assert (body["source"], body["target"], body["model"]) == ("de", "en", "tiny-translator")
    with talk.expect_popup() as popup:
        talk.locator("button:has-text('look inside')").first.click()
    popup.value.close()
    assert fake.asked[-1][1]["prompt"] == "ein hund"


def test_a_busy_server_is_asked_again(failing, fake):
    fake.refusals = [(429, {"retry-after": "1"}, "the queue is full"), (503, {"retry-after": "3600"}, "loading")]
    failing.fill("#composer textarea", "hello")
    failing.press("#composer textarea", "Enter")
    failing.wait_for_selector("body[data-state=waiting]")
    expect(failing.locator("article .status").last).to_contain_text("The queue is full (429). Asked again in")
    expect(failing.locator("article .status").last).to_contain_text("Loading (503). Asked again in")
    failing.click("button:has-text('Ask now')")
    ready(failing)
    assert messages(failing)[1] == SAID and len(answered(fake)) == 3
    fake.refusals = [(429, {"retry-after": "3600"}, "the queue is full")]
    failing.fill("#composer textarea", "hello")
    failing.press("#composer textarea", "Enter")
    failing.wait_for_selector("body[data-state=waiting]")
    failing.keyboard.press("Escape")
    ready(failing)
    expect(failing.locator("article .status").last).to_contain_text("Stopped.")


def test_errors_are_said_and_nothing_is_lost(failing, fake):
    fake.refusals = [(400, {}, "the prompt does not fit the context <b>")]
    say(failing, "too long")
    expect(failing.locator("article .status").last).to_contain_text("The prompt does not fit the context <b> (400).")
    fake.breaks, fake.wait = 3, 0.1  # what has not been read when a connection breaks is lost
    failing.click("button:has-text('try again')")
    ready(failing)
    expect(failing.locator("article .status").last).to_contain_text("The connection to the server broke off.")
    assert messages(failing)[1] == "Yes, **op"
    failing.reload()
    ready(failing)
    assert messages(failing)[1] == "Yes, **op"
    failing.route("**/v1/chat/completions", lambda route: route.abort())
    failing.click("button:has-text('try again')")
    ready(failing)
    expect(failing.locator("article .status").last).to_contain_text("The server does not answer")
    expect(failing.locator("#live")).to_contain_text("the server does not answer")


def test_a_key_is_asked_for_and_forgotten_with_the_tab(failing, fake, serving):
    fake.key = "secret"
    failing.goto("about:blank")
    failing.goto(serving[0])
    for given in ("wrong", "secret"):
        failing.fill("dialog input", given)
        failing.click("dialog button:text-is('OK')")
    ready(failing)
    say(failing, "hello")
    assert messages(failing)[1] == SAID
    assert failing.evaluate("JSON.stringify(localStorage)").count("secret") == 0
    failing.reload()
    ready(failing)


def test_two_windows_lose_nothing(talk, fake):
    fake.answers = ["first", "from here", "from there"]
    say(talk, "one")
    other = talk.context.new_page()
    open_page(other, talk.url)
    say(talk, "here")
    say(other, "there")
    expect(other.locator("article.from-user .branches")).to_have_count(0)
    other.reload()
    ready(other)
    assert messages(other) == ["one", "first", "there", "from there"]
    other.locator("article.from-user [aria-label='Previous branch']").click()
    assert messages(other) == ["one", "first", "here", "from here"]


def test_where_room_is_short_the_oldest_lose_their_tokens_and_no_text_is_lost(talk):
    found = talk.evaluate(
        """async () => {
            const { Storage, openStorage } = await import("/chat/storage.js");
            const { add, newConversation } = await import("/chat/tree.js");
            const storage = new Storage((await openStorage()).database, 9000);
            const made = [1, 2, 3, 4].map((number) => {
              const made = newConversation("m", "chat");
              const tokens = [{ text: "x".repeat(2500), id: 1, logprob: 0, bytes: null, top: [] }];
              add(made, { parent: "", role: "assistant", text: `text ${number}`, tokens });
              return { ...made, changed: number };
            });
            for (const each of made) await storage.save(each);
            const kept = await Promise.all(made.map(({ id }) => storage.load(id)));
            const all = kept.flatMap(({ messages }) => Object.values(messages));
            let refused = "";
            const long = newConversation("m", "chat");
            add(long, { parent: "", role: "user", text: "y".repeat(9000) });
            await storage.save(long).catch((error) => (refused = error.message));
            return { texts: all.map(({ text }) => text), tokens: all.map((each) => Boolean(each.tokens)), refused };
        }"""
    )
    assert found["texts"] == ["text 1", "text 2", "text 3", "text 4"]
    assert found["tokens"] == [False, True, True, True]
    assert "full" in found["refused"]


def test_without_storage_the_page_says_so_and_talks(page, serving, fake):
    page.add_init_script("Object.defineProperty(window, 'indexedDB', { value: { open() { throw new Error('no'); } } })")
    open_page(page, serving[0])
    expect(page.locator("#problem")).to_contain_text("keeps no conversations")
    say(page, "hello")
    assert messages(page)[1] == SAID
