"""The page to talk for everybody: by keyboard, on a phone, by a screen reader, in both themes; and nobody listens."""

import math

import pytest
from browsing import watch
from fake_server import ANSWER
from playwright.sync_api import expect
from talking import answered, messages, open_page, ready, say


def test_settings_are_the_models_until_they_are_changed(talk, fake):
    talk.click("button:text-is('Settings')")
    field = talk.locator("#settings input[name=temperature]")
    assert field.get_attribute("placeholder") == "0.7" and field.input_value() == ""
    field.fill("0.25")
    talk.click("button:text-is('Settings')")  # the click counts, though the field changes as it loses the focus
    expect(field).to_be_hidden()
    talk.click("button:text-is('Settings')")
    talk.fill("#settings input[name=max_tokens]", "9")
    talk.fill("#settings input[name=seed]", "5")
    talk.fill("#settings textarea[name=system]", "Be brief.")
    say(talk, "hello")
    body = answered(fake)[0]
    assert (body["temperature"], body["max_tokens"], body["seed"]) == (0.25, 9, 5)
    assert body["messages"][0] == {"role": "system", "content": "Be brief."}
    talk.fill("#settings input[name=top_p]", "7")
    talk.press("#settings input[name=top_p]", "Tab")
    assert talk.locator("#settings .problem:visible").count() == 1
    talk.click("#settings button:has-text('own')")
    say(talk, "hello again")
    assert "temperature" not in answered(fake)[1] and "top_p" not in answered(fake)[1]


def test_the_keyboard_alone(talk, fake):
    fake.answers = ["first", "second", "third"]
    expect(talk.locator("#composer textarea")).to_be_focused()
    talk.keyboard.type("one")
    talk.keyboard.press("Shift+Enter")
    talk.keyboard.type("line")
    talk.keyboard.press("Enter")
    ready(talk)
    assert answered(fake)[0]["messages"][0]["content"] == "one\nline"
    talk.keyboard.press("ArrowUp")
    expect(talk.locator(".edit textarea")).to_be_focused()
    talk.keyboard.press("Control+A")
    talk.keyboard.type("two")
    talk.keyboard.press("Control+Enter")
    ready(talk)
    assert messages(talk) == ["two", "second"]
    talk.keyboard.press("r")
    ready(talk)
    assert messages(talk) == ["two", "third"]
    talk.keyboard.press("[")
    assert messages(talk) == ["two", "second"]
    talk.keyboard.press("]")
    assert messages(talk) == ["two", "third"]
    talk.keyboard.press("t")
    expect(talk.locator("button.t").first).to_be_focused()
    talk.keyboard.press("s")
    expect(talk.locator("#settings textarea").first).to_be_focused()
    talk.keyboard.press("Escape")
    expect(talk.locator("#settings")).to_be_hidden()
    expect(talk.locator("#composer textarea")).to_be_focused()
    talk.keyboard.press("Shift+Tab")
    talk.keyboard.press("?")
    assert "stop the answer" in talk.locator("dialog").inner_text()
    talk.keyboard.press("Escape")
    talk.keyboard.press("n")
    assert messages(talk) == []
    talk.keyboard.type("/n is text here")
    expect(talk.locator("#composer textarea")).to_have_value("/n is text here")


def test_tab_reaches_every_control_in_order(talk):
    say(talk, "hello")
    talk.evaluate("document.activeElement.blur()")
    reached = []
    for _ in range(40):
        talk.keyboard.press("Tab")
        name = talk.evaluate("(document.activeElement.ariaLabel ?? document.activeElement.textContent).trim()")
        if name in reached and name == reached[0]:
            break
        reached.append(name)
    order = ["Model", "Chat", "Settings", "Keys", "New conversation", "hello", "edit", "again", "tokens", "Message"]
    places = [reached.index(name) for name in order]
    assert places == sorted(places), reached


def test_a_phone(talk, fake):
    fake.answers = ["| a | b |\n|---|---|\n| " + "wide " * 60 + " | 2 |\n\n```\n" + "x" * 300 + "\n```\n" + "w" * 200]
    talk.set_viewport_size({"width": 360, "height": 740})
    say(talk, "hello " + "w" * 100)
    assert talk.evaluate("document.scrollingElement.scrollWidth") <= 360
    assert talk.locator("#talk").evaluate("talk => talk.scrollWidth <= talk.clientWidth")
    expect(talk.locator("#side")).to_be_hidden()
    talk.click("[aria-label=Conversations]:not(nav)")
    expect(talk.locator("#side")).to_be_visible()
    talk.keyboard.press("Escape")
    expect(talk.locator("#side")).to_be_hidden()
    talk.locator("article.from-assistant span.t").nth(2).click()
    box = talk.locator("#token-card").bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= 360
    talk.keyboard.press("Escape")
    talk.click("button:text-is('Settings')")
    assert talk.evaluate("document.scrollingElement.scrollWidth") <= 360


def test_a_screen_reader_hears_the_answer_once(talk):
    say(talk, "what is openbook?")
    expect(talk.locator("#live")).to_have_text(ANSWER)
    tree = talk.locator("body").aria_snapshot()
    for part in ('navigation "Conversations"', 'log "Conversation"', 'article "You"', 'article "tiny-chat"', "textbox"):
        assert part in tree, part
    assert 'combobox "Model"' in tree and 'link "what is openbook?"' in tree
    talk.click("article.from-assistant button:has-text('tokens')")
    assert 'button "Yes, 70 %"' in talk.locator("article.from-assistant").aria_snapshot()


def test_probabilities_are_those_of_the_server(talk):
    say(talk, "hello")
    talk.locator("article.from-assistant span.t").first.hover()
    width = talk.locator("#token-card .fill").first.evaluate("fill => fill.style.width")
    assert math.isclose(float(width.rstrip("%")), 70, abs_tol=1e-6)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_in_both_themes(talk, scheme):
    talk.emulate_media(color_scheme=scheme)
    say(talk, "hello")
    talk.click("article.from-assistant button:has-text('tokens')")
    talk.click("button:text-is('Settings')")
    assert talk.evaluate(CONTRAST) == []


CONTRAST = """() => {
  const channels = (color) => {
    const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const linear = (c) => (c / 255 <= 0.03928 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = channels(getComputedStyle(at).backgroundColor);
      if (color[3] > 250) return color;
    }
    return [255, 255, 255];
  };
  const bad = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!own || !element.checkVisibility() || element.matches(":disabled, option")) continue;
    const [a, b] = [light(channels(getComputedStyle(element).color)), light(ground(element))].sort((x, y) => y - x);
    const name = `${element.tagName}.${element.className}: ${element.textContent.slice(0, 20)}`;
    if ((a + 0.05) / (b + 0.05) < 4.5) bad.push(name);
  }
  return bad;
}"""


def test_nothing_is_asked_of_others(browser, serving, fake):
    context = browser.new_context()
    page = context.new_page()
    wrong, asked = watch(page), []
    page.on("request", lambda request: asked.append(request.url))
    open_page(page, serving[0])
    fake.answers = ["![a](https://example.com/a.png) <img src=https://example.com/b.png> https://example.com/c"]
    say(page, "hello")
    context.close()
    assert [url for url in asked if not url.startswith((serving[0], "data:"))] == [] and not wrong
