"""What routes ask for: models, token counts, generations."""

import asyncio
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

from openbook.errors import SettingError
from openbook.generation.batching.errors import BatcherClosedError, QueueFullError
from openbook.generation.batching.ticket import Ticket
from openbook.web.serve.door import client_key
from openbook.web.serve.errors import ApiError
from openbook.web.serve.generation import AT_ONCE, Generation
from openbook.web.serve.loaded import LoadedModel
from openbook.web.serve.logs import log
from openbook.web.serve.metrics import Metrics
from openbook.web.serve.prompts import EncodedPrompt, Prompt, encode_prompt
from openbook.web.serve.registry import ModelRegistry
from openbook.web.serve.request import GenerationRequest, Plan, plan_requests, setting_problem


@dataclass(frozen=True, kw_only=True)
class ServiceSettings:
    """How requests are answered.

    Attributes:
        timeout: seconds that an answer may take.
        log_prompts: whether prompts and answers go to the log.
    """

    timeout: float = 600.0
    log_prompts: bool = False


class Service:
    """Answers requests in no API's words."""

    def __init__(self, registry: ModelRegistry, settings: ServiceSettings) -> None:
        self.registry, self.settings = registry, settings
        self.metrics = Metrics(registry)
        self._loading: asyncio.Task[Any] | None = None
        self._sweeping: asyncio.Task[None] | None = None

    @property
    def ready(self) -> bool:
        """Whether the first model is in memory, or was."""
        return self._loading is not None and self._loading.done() and self._loading.exception() is None

    @property
    def problem(self) -> str | None:
        """Why the first model could not be opened."""
        if self._loading is None or not self._loading.done() or self._loading.exception() is None:
            return None
        return str(self._loading.exception())

    def start(self) -> None:
        """Begin to open the first model; requests get a 503 until it is there."""
        self._loading = asyncio.create_task(self.registry.model(None))
        self._loading.add_done_callback(_tell_failure)
        self._sweeping = asyncio.create_task(self.registry.sweep())

    def stop(self) -> None:
        """End all that is under way."""
        for task in (self._loading, self._sweeping):
            if task is not None:
                task.cancel()
        self.registry.close()

    async def model(self, name: str | None) -> LoadedModel:
        """A model, opened if need be.

        Raises:
            ApiError: there is none of this name, it cannot be opened, or the server has just started.
        """
        self.registry.entry(name)
        if self._loading is not None and not self._loading.done():
            raise ApiError(503, "the model is being loaded; try again soon", code="model_loading", retry_after=1)
        return await self.registry.model(name)

    async def count(self, name: str | None, prompt: Prompt) -> list[int]:
        """The token ids that a model reads for a prompt.

        Raises:
            ApiError, OpenbookError: as `begin`.
        """
        return list((encoded := await self.encode(name, prompt)).source or encoded.ids)

    async def encode(self, name: str | None, prompt: Prompt) -> EncodedPrompt:
        """A prompt as a model reads it; raises as `begin`."""
        return await asyncio.to_thread(encode_prompt, await self.model(name), prompt)

    async def begin(self, asked: GenerationRequest, request: Request) -> Generation:
        """Admit a request: after this, an answer begins.

        Raises:
            ApiError, OpenbookError: it is wrong, or there is no room for it now.
        """
        loaded = await self.model(asked.model)
        loaded.users += 1
        try:
            with _refusals():  # refusing is cheap: nothing is rendered or tokenized for it
                loaded.batcher.check_queue()
            client = client_key(request.scope)
            plans = await asyncio.to_thread(plan_requests, loaded, asked, client)
            tickets = self._submit(loaded, plans, asked)
        except BaseException:
            self.registry.release(loaded)
            raise
        notes, started = request.state.notes, time.perf_counter()
        notes["model"] = loaded.id
        if self.settings.log_prompts:
            notes["prompts"] = [str(prompt) for prompt in asked.prompts]

        def on_close(generation: Generation) -> None:
            self.registry.release(loaded)
            usage = generation.usage
            notes.update(prompt_tokens=usage.prompt_tokens, completion_tokens=usage.completion_tokens)
            notes.update({"cached_tokens": usage.cached_tokens} if usage.cached_tokens else {})
            if not generation.finished:
                notes["unfinished"] = True

        return Generation(
            loaded,
            plans,
            tickets,
            echo=asked.echo,
            with_tokens=asked.logprobs is not None,
            on_first_token=lambda: self.metrics.first_token.observe(time.perf_counter() - started),
            on_close=on_close,
        )

    def _submit(self, loaded: LoadedModel, plans: list[Plan], asked: GenerationRequest) -> list[Ticket]:
        """Tickets of the first prompts; of one at least.

        Raises:
            ApiError: the queue is full, or a number is out of range.
        """
        tickets: list[Ticket] = []
        try:
            with _refusals():
                for plan in plans[:AT_ONCE]:
                    tickets.append(loaded.batcher.submit(plan.request))
        except BaseException as error:
            if tickets and isinstance(error, ApiError) and error.status == 429:
                return tickets  # the rest waits its turn
            for ticket in tickets:
                ticket.cancel()
            if isinstance(error, SettingError):
                raise setting_problem(error, asked.fields) from None
            raise
        return tickets


@contextmanager
def _refusals() -> Iterator[None]:
    """Tell that a batcher takes no more, as clients are told."""
    try:
        yield
    except QueueFullError as error:
        raise ApiError(429, str(error), code="queue_full", retry_after=error.retry_after) from None
    except BatcherClosedError:
        raise ApiError(503, "the model has just left memory; try again", retry_after=1) from None


def service_of(request: Request) -> Service:
    """The service of a request's application."""
    service: Service = request.app.state.service
    return service


def _tell_failure(loading: "asyncio.Task[Any]") -> None:
    if not loading.cancelled() and loading.exception() is not None:
        log("the model cannot be loaded", level=logging.ERROR, why=str(loading.exception()))
