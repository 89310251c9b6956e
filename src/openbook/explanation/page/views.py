"""The views of a page by name: a function of the run and the parameters of the request, all texts."""

from openbook.explanation.page.page_run import View

VIEWS: dict[str, View] = {}
