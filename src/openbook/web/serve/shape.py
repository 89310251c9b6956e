"""A shape of the API: its routes, and how it tells errors."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter

from openbook.web.serve.errors import ApiError

COMMENT_PING = b": ping\n\n"
"""A comment in a stream of server-sent events, which every client skips."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Routes that speak as one well-known API.

    Attributes:
        name: for logs.
        router: the routes, with full paths.
        paths: beginnings of the paths whose errors are told in this shape.
        error_body: the JSON body of an error, from the error and the id of the request.
        error_event: the same inside a stream that has begun.
        ping: what keeps a silent stream open; nothing if empty.
        key_in_body: whether clients may give their key as the field `api_key` of the body.
    """

    name: str
    router: APIRouter
    paths: tuple[str, ...]
    error_body: Callable[[ApiError, str], Any]
    error_event: Callable[[ApiError, str], bytes]
    ping: bytes = COMMENT_PING
    key_in_body: bool = False


class Shapes:
    """All shapes; the first one speaks for paths that belong to none."""

    def __init__(self, shapes: Sequence[Shape]) -> None:
        self.all = tuple(shapes)
        self._by_path = sorted(((path, each) for each in shapes for path in each.paths), key=lambda pair: -len(pair[0]))

    def of(self, path: str) -> Shape:
        """The shape of a path: the one that knows its longest beginning."""
        return next((shape for beginning, shape in self._by_path if path.startswith(beginning)), self.all[0])
