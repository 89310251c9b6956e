"""The pages of `openbook serve`, with the headers that keep others from framing them, and them from loading theirs."""

from starlette.responses import RedirectResponse
from starlette.routing import BaseRoute, Mount, Route

from openbook.web import chat_page
from openbook.web.guard import SecurityHeaders


def page_routes() -> list[BaseRoute]:
    """The page to talk, to which `/` leads."""
    return [Route("/", lambda request: RedirectResponse("chat/")), *map(_secured, chat_page.mount())]


def _secured(page: BaseRoute) -> BaseRoute:
    assert isinstance(page, Mount), "pages are folders of files"
    return Mount(page.path, SecurityHeaders(page.app), name=page.name)
