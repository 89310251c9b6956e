"""Answers that were opened to look inside: a page for each, under an address that only who opened it knows."""

import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

from starlette.applications import Starlette
from starlette.types import Receive, Scope, Send

from openbook.model import Model
from openbook.web.serve.errors import not_found

# The server imports no PyTorch before an answer is looked into.
if TYPE_CHECKING:
    from openbook.explanation.page.page_run import PageRun
    from openbook.web.runs import Runs

MOST = 8
"""Answers that are kept; the longest unused goes."""
MOST_BYTES = 2**30
"""Memory that the numbers of all kept answers may take together; the newest stays in any case."""
RUN_BYTES = 2**26
"""Memory for the traces of one run; others of it are recorded again when they are looked at."""


class _Kept(NamedTuple):
    model: Model
    runs: "Runs"
    page: Starlette


class ExplainedAnswers:
    """The kept answers; an ASGI application where the path parameter `key` names one."""

    def __init__(self, most: int = MOST, most_bytes: int = MOST_BYTES) -> None:
        self._most, self._most_bytes = most, most_bytes
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._changing = threading.Lock()
        self._tracing: WeakKeyDictionary[Model, Any] = WeakKeyDictionary()

    def add(
        self,
        model: Model,
        trace: "Callable[[], PageRun]",
        asked: Mapping[str, Any],
        languages: Mapping[str, str | None],
    ) -> str:
        """Trace an answer and keep it; return the key under which it is found. Takes a thread for a while.

        Args:
            model: that gave the answer.
            trace: runs it again.
            asked: prompt, target, raw, settings: where another run begins that a person starts from the page.
            languages: of a translator that has several.

        Raises:
            OpenbookError: as `trace`.
        """
        from openbook.web.app import page_app
        from openbook.web.model_runs import starter
        from openbook.web.runs import Runs

        with self._changing:
            tracing = self._tracing.setdefault(model, threading.RLock())
        with tracing:
            runs = Runs(trace(), starter(model, asked, languages, RUN_BYTES), tracing)
        key = secrets.token_urlsafe(16)
        with self._changing:
            self._kept[key] = _Kept(model, runs, page_app(runs))
            self._make_room()
        return key

    def drop(self, is_loaded: Callable[[Model], bool]) -> None:
        """Forget the answers of models that have left memory."""
        with self._changing:
            for key in [key for key, kept in self._kept.items() if not is_loaded(kept.model)]:
                del self._kept[key]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it.

        Raises:
            ApiError: the answer is no longer kept.
        """
        key = scope["path_params"]["key"]
        with self._changing:
            kept = self._kept.get(key)
            if kept is None:
                raise not_found("this explanation is no longer kept; open it again from the answer")
            self._kept.move_to_end(key)
            self._make_room()
        await kept.page(scope, receive, send)

    def _make_room(self) -> None:
        while len(self._kept) > 1 and (len(self._kept) > self._most or self._bytes() > self._most_bytes):
            self._kept.popitem(last=False)

    def _bytes(self) -> int:
        return sum(kept.runs.kept_bytes for kept in self._kept.values())
