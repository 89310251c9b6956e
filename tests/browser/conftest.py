"""One browser for all tests of pages; without Chromium they are skipped."""

import pytest

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

from browsing import ARGUMENTS, CHROMIUM, save_decoder, save_translator, served, watch  # noqa: E402
from fake_server import fake_server  # noqa: E402
from talking import open_page  # noqa: E402


@pytest.fixture(scope="module")  # Playwright keeps an event loop running, in which other modules could run none
def browser():
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed; on Debian: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield started
        started.close()


@pytest.fixture
def page(browser):
    """An empty page; the test fails if anything goes wrong in it."""
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    page = context.new_page()
    page.set_default_timeout(8_000)
    wrong = watch(page)
    yield page
    context.close()
    assert not wrong


@pytest.fixture(scope="session")
def decoder(tmp_path_factory):
    path = tmp_path_factory.mktemp("pages") / "tiny.openbook"
    save_decoder(path)
    return path


@pytest.fixture(scope="session")
def translator(tmp_path_factory):
    path = tmp_path_factory.mktemp("pages") / "tiny-translator.openbook"
    save_translator(path)
    return path


@pytest.fixture(scope="module")
def decoder_page(decoder):
    with served(decoder, "what is openbook", "--seed", "0") as address:
        yield address


@pytest.fixture(scope="module")
def translator_page(translator):
    with served(translator, "ein hund", "--seed", "0") as address:
        yield address


@pytest.fixture(scope="module")
def serving():
    with fake_server() as found:
        yield found


@pytest.fixture
def fake(serving):
    serving[1].reset()
    return serving[1]


@pytest.fixture
def talk(page, serving, fake):
    """The page, with nothing said yet."""
    open_page(page, serving[0])
    return page


@pytest.fixture
def failing(browser, serving, fake):
    """As `talk`, in a browser that may see errors."""
    context = browser.new_context()
    page = context.new_page()
    page.set_default_timeout(8_000)
    open_page(page, serving[0])
    yield page
    context.close()
