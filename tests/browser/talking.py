"""What a person does on the page to talk."""

SAID = "Yes, openbook is awesome."
"""What is read of the answer that the fake server gives when a test asks for no other."""


def open_page(page, address):
    page.goto(address)
    ready(page)


def ready(page):
    page.wait_for_selector("body[data-state=ready]")


def say(page, text):
    page.fill("#composer textarea", text)
    page.press("#composer textarea", "Enter")
    ready(page)


def messages(page):
    return page.locator("article .body").all_inner_texts()


def answered(fake, path="/v1/chat/completions"):
    return [body for asked, body in fake.asked if asked == path]
