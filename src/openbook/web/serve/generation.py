"""One generation: from planned requests to the deltas of its choices, whoever asked for it and in whatever shape."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from openbook.errors import OpenbookError
from openbook.generation.batching.errors import QueueFullError
from openbook.generation.batching.events import Event, Failed, Finished, PromptRead, Token
from openbook.generation.batching.ticket import Ticket
from openbook.generation.settings import Sampling
from openbook.web.serve.choices import ChoiceText, Delta, FinishReason, TokenInfo
from openbook.web.serve.errors import ApiError
from openbook.web.serve.loaded import LoadedModel
from openbook.web.serve.request import Plan
from openbook.web.serve.tool_calls import ToolCall

AT_ONCE = 16
"""Prompts of one request that are under way at once; the others follow as these end."""
RETRY_SECONDS = 0.2
"""After which a later prompt of a request tries again where the queue is full."""


@dataclass
class Usage:
    """Tokens of a request: asked, answered, and asked without having to be read again."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0


@dataclass
class Choice:
    """A whole answer; attributes as of `Delta`."""

    index: int
    text: str = ""
    tokens: list[TokenInfo] = field(default_factory=list)
    prompt_tokens: list[TokenInfo] = field(default_factory=list)
    finish_reason: FinishReason = "length"
    stop_sequence: str | None = None
    tool_calls: list[ToolCall] = field(default_factory=list)

    def add(self, delta: Delta) -> None:
        """Take what it gains."""
        self.text += delta.text
        self.tokens += delta.tokens
        self.prompt_tokens += delta.prompt
        if delta.tool_call is not None:
            self.tool_calls.append(delta.tool_call)
        if delta.finish_reason is not None:
            self.finish_reason, self.stop_sequence = delta.finish_reason, delta.stop_sequence


@dataclass(frozen=True)
class Result:
    """All choices of a request, in order, and its usage."""

    choices: list[Choice]
    usage: Usage


class Generation:
    """An admitted request. Iterate over its deltas once, then `close` it, however it ends."""

    def __init__(
        self,
        model: LoadedModel,
        plans: Sequence[Plan],
        first: Sequence[Ticket],
        *,
        echo: bool,
        with_tokens: bool,
        on_first_token: Callable[[], None],
        on_close: Callable[["Generation"], None],
    ) -> None:
        """Args:
        model: that answers.
        plans: a prompt each.
        first: the tickets of the first of them; the others are submitted as these end.
        echo: whether the prompt's tokens are wanted.
        with_tokens: whether the answer's tokens are.
        on_first_token, on_close: called once.
        """
        self.model, self.created = model, int(time.time())
        self.id = first[0].id
        self.prompt_counts = [plan.prompt.count for plan in plans]
        self.streams = all(plan.streams for plan in plans)
        self.decoding = plans[0].request.decoding
        self.usage = Usage(sum(self.prompt_counts))
        self._plans, self._tickets = plans, dict(enumerate(first))
        self._echo, self._with_tokens = echo, with_tokens
        self._on_first_token, self._on_close = on_first_token, on_close
        self._n = plans[0].choices
        self._choices = [
            ChoiceText(index, plans[index // self._n], model.tokenizer) for index in range(len(plans) * self._n)
        ]
        self._begun = self._closed = False

    def __aiter__(self) -> AsyncIterator[Delta]:
        return self._deltas()

    async def whole(self) -> Result:
        """The whole answer.

        Raises:
            ApiError: it failed.
        """
        choices = [Choice(index) for index in range(len(self._choices))]
        async for delta in self._deltas():
            choices[delta.index].add(delta)
        return Result(choices, self.usage)

    def close(self) -> None:
        """Free all rows at once; nothing happens the second time."""
        if self._closed:
            return
        self._closed = True
        for ticket in self._tickets.values():
            ticket.cancel()
        self._on_close(self)

    @property
    def seed(self) -> int | None:
        """Repeats this answer; None for a beam search, and for several prompts, which have a seed each."""
        return self.decoding.seed if isinstance(self.decoding, Sampling) and len(self._plans) == 1 else None

    @property
    def finished(self) -> bool:
        """Whether every choice has come to its end."""
        return all(choice.finished for choice in self._choices)

    async def _deltas(self) -> AsyncIterator[Delta]:
        events = self._of_one(0) if len(self._plans) == 1 else self._of_many()
        async for number, event in events:
            for delta in self._read(number, event):
                yield delta

    def _read(self, number: int, event: Event) -> list[Delta]:
        """What an event of a prompt's ticket means to its choices."""
        first = number * self._n
        if isinstance(event, Token):
            self._tell_first_token()
            self.usage.completion_tokens += 1
            return self._choices[first + event.choice].feed(event, with_tokens=self._with_tokens)
        if isinstance(event, PromptRead):
            self.usage.cached_tokens += event.reused_tokens
            if not self._echo:
                return []
            choices = self._choices[first : first + self._n]
            return [choice.prompt(event.log_probs, event.top) for choice in choices]
        if isinstance(event, Finished):
            choice = self._choices[first + event.choice]
            if event.finish_reason == "cancelled":
                raise ApiError(503, "the server ends, or the model left memory; try again", retry_after=1)
            return [] if choice.finished else choice.finish(event.finish_reason)
        assert isinstance(event, Failed)
        raise _failure(event)

    def _tell_first_token(self) -> None:
        if not self._begun:
            self._begun = True
            self._on_first_token()

    async def _of_one(self, number: int) -> AsyncIterator[tuple[int, Event]]:
        ticket = self._tickets[number]
        while events := await ticket.next_events():
            for event in events:
                yield number, event

    async def _of_many(self) -> AsyncIterator[tuple[int, Event]]:
        """The events of all prompts as they come, some prompts at a time."""
        waiting = iter(range(len(self._tickets), len(self._plans)))
        arrived: asyncio.Queue[tuple[int, Event] | BaseException | None] = asyncio.Queue()

        async def follow(number: int) -> None:
            """A prompt, then whichever comes next."""
            try:
                turn: int | None = number
                while turn is not None:
                    await self._submit(turn)
                    async for pair in self._of_one(turn):
                        arrived.put_nowait(pair)
                    turn = next(waiting, None)
                arrived.put_nowait(None)
            except Exception as error:
                arrived.put_nowait(error)

        following = [asyncio.create_task(follow(number)) for number in self._tickets]
        left = len(following)
        try:
            while left:
                newest = await arrived.get()
                if isinstance(newest, BaseException):
                    raise newest
                if newest is None:
                    left -= 1
                else:
                    yield newest
        finally:
            for task in following:
                task.cancel()

    async def _submit(self, number: int) -> None:
        while number not in self._tickets:
            with suppress(QueueFullError):
                self._tickets[number] = self.model.batcher.submit(self._plans[number].request)
                return
            await asyncio.sleep(RETRY_SECONDS)


def _failure(event: Failed) -> Exception:
    """The exception that stands for a failed request; anything but a person's mistake goes to the log with its id."""
    if isinstance(event.error, OpenbookError):
        return ApiError(500, f"{event.message} ({event.error_id})", code="generation_failed")
    failure = RuntimeError(f"generation {event.error_id} failed")
    failure.__cause__ = event.error
    return failure
