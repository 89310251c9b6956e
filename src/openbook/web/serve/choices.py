"""One choice of an answer: tokens in, text out."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from openbook.generation.batching.events import Token, TokenScore
from openbook.generation.stop_sequences import StopSequences
from openbook.text.tokenizer.tokenizer import StreamDecoder, Tokenizer
from openbook.web.serve.request import Plan
from openbook.web.serve.tool_calls import ToolCall, ToolCallReader

FinishReason = Literal["end", "stop", "length", "tool_calls"]
"""Why an answer ended: with an end token, before a stop sequence, at its limit, or to have tools called."""


@dataclass(frozen=True, slots=True)
class TokenInfo:
    """A token with its log-probability, and the most probable ones in its place, best first."""

    id: int
    log_probability: float | None
    tokenizer: Tokenizer = field(repr=False, compare=False)
    top: tuple["TokenInfo", ...] = ()

    @property
    def text(self) -> str:
        r"""Its text; bytes that are part of a character show as \xe2."""
        return self.tokenizer.token_text(self.id)

    @property
    def bytes(self) -> bytes:
        """The bytes that it stands for."""
        return self.tokenizer.token_bytes(self.id)


@dataclass(frozen=True, slots=True)
class Delta:
    """What a choice gains.

    Attributes:
        index: of the choice: the prompt's number × n + i.
        text: whole characters, without a stop sequence or a call of a tool; may be empty.
        tokens: that were chosen since; the one that ends the answer is among them.
        prompt: the tokens of the prompt, once, if the request wants an echo.
        finish_reason: on the last delta of the choice.
        stop_sequence: the text before which it ended.
        tool_call: a whole one.
    """

    index: int
    text: str = ""
    tokens: tuple[TokenInfo, ...] = ()
    prompt: tuple[TokenInfo, ...] = ()
    finish_reason: FinishReason | None = None
    stop_sequence: str | None = None
    tool_call: ToolCall | None = None


class ChoiceText:
    """Follows one choice."""

    def __init__(self, index: int, plan: Plan, tokenizer: Tokenizer) -> None:
        self._index, self._plan, self._tokenizer = index, plan, tokenizer
        self._decoder = StreamDecoder(
            tokenizer, skip_special=plan.prompt.is_translation, beginning=plan.prompt.begins_text
        )
        self._stops = StopSequences(plan.stop)
        self._calls = None
        if plan.tools is not None:
            self._calls = ToolCallReader(plan.tools, plan.tool_names, several=plan.several_calls)
        self._begun = not plan.prompt.is_translation
        self.finished = False

    def feed(self, token: Token, *, with_tokens: bool) -> list[Delta]:
        """What another token adds; nothing if its text waits for more."""
        reason = token.finish_reason
        text = "" if reason == "end" else self._stops.feed(self._decoder.feed((token.token_id,)))
        if reason is not None and not self._stops.found:
            text += self._stops.feed(self._decoder.flush())
        if reason is not None and not self._stops.found:
            text += self._stops.flush()
        calls: list[ToolCall] = []
        if self._calls is not None:
            text, calls = self._calls.feed(text)
            text += self._calls.flush() if reason is not None else ""
        if not self._begun:
            text = text.lstrip()
            self._begun = bool(text)
        tokens = (self._info(token.token_id, token.log_prob, token.top),) if with_tokens else ()
        deltas = [Delta(self._index, text, tokens)] if text or tokens else []
        deltas += [Delta(self._index, tool_call=call) for call in calls]
        if reason is not None:
            deltas.append(self._end(reason))
        return deltas

    def finish(self, reason: str) -> list[Delta]:
        """The end of a choice that ends without a token: after none at all, or where its grammar allows nothing."""
        text = self._stops.feed(self._decoder.flush()) + self._stops.flush()
        return [*([Delta(self._index, text)] if text else []), self._end(reason)]

    def prompt(self, scores: Sequence[float | None], top: Sequence[Sequence[TokenScore]]) -> Delta:
        """The prompt's tokens, with their log-probabilities if there are any."""
        ids = self._plan.prompt.ids
        given = zip(ids, scores or [None] * len(ids), top or [()] * len(ids), strict=True)
        return Delta(self._index, prompt=tuple(self._info(*each) for each in given))

    def _end(self, reason: str) -> Delta:
        self.finished = True
        stop = self._stops.which
        if stop is not None:
            reason = "stop"
        elif reason == "end" and self._calls is not None and self._calls.count:
            reason = "tool_calls"
        assert reason in ("end", "stop", "length", "tool_calls"), "a cancelled choice is told to nobody"
        return Delta(self._index, finish_reason=reason, stop_sequence=stop)  # type: ignore[arg-type]

    def _info(self, token: int, log_probability: float | None, top: Sequence[TokenScore]) -> TokenInfo:
        others = tuple(TokenInfo(each.token_id, each.log_prob, self._tokenizer) for each in top)
        return TokenInfo(token, log_probability, self._tokenizer, others)
