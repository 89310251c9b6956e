"""Text in, text out: answers streamed in pieces that never split a character and never show a stop text."""

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass

from openbook.generation.beam_search import Hypothesis, beam_search
from openbook.generation.engines.torch_engine import Engine
from openbook.generation.generate import Chosen, Finish, generate
from openbook.generation.settings import BeamSearch, Sampling
from openbook.generation.token_rules import TokenRules
from openbook.text.tokenizer.tokenizer import StreamDecoder, Tokenizer

Prompt = str | Sequence[int]


@dataclass(frozen=True)
class Piece:
    """What one more token adds to the answer to prompt number `row`.

    `text` may be empty: half a character, or what may turn out to be a stop text, waits for the tokens after it.
    """

    row: int
    text: str
    chosen: Chosen
    finish: Finish | None


@dataclass(frozen=True)
class Answer:
    """A whole answer: its text, its tokens as they were chosen, and why it ended."""

    text: str
    chosen: tuple[Chosen, ...]
    finish: Finish


@dataclass(frozen=True)
class Candidate:
    """One of the n-best, as text and as the hypothesis it was found as."""

    text: str
    hypothesis: Hypothesis


class StopText:
    """Passes text on until a stop text appears; holds back whatever may be the beginning of one.

    The stop text that is complete first counts; of those that end together, the longest.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = stops
        self._held = ""
        self.found = False

    def feed(self, text: str) -> str:
        """The text that is now known to be part of the answer."""
        self._held += text
        ends = [(place + len(stop), place) for stop in self._stops if (place := self._held.find(stop)) >= 0]
        self.found = bool(ends)
        passed = min(ends)[1] if self.found else len(self._held) - self._beginning()
        text, self._held = self._held[:passed], "" if self.found else self._held[passed:]
        return text

    def flush(self) -> str:
        """What was held back, when no more text comes."""
        text, self._held = self._held, ""
        return text

    def _beginning(self) -> int:
        """Length of the longest end of the held text that is the beginning of a stop text."""
        longest = min(len(self._held), max(map(len, self._stops), default=1) - 1)
        endings = (n for n in range(longest, 0, -1) if any(stop.startswith(self._held[-n:]) for stop in self._stops))
        return next(endings, 0)


def stream(
    engine: Engine, tokenizer: Tokenizer, prompts: Sequence[Prompt], sampling: Sampling, *, runners_up: int = 0
) -> Generator[Piece, None, None]:
    """The answers to all prompts as they come: one piece for each token; closing the stream ends all work.

    A prompt is a text to go on from, or token ids behind which an answer begins, such as those of a conversation.
    An empty text asks for one from its beginning. The token that ends a text adds none to the answer.

    Raises:
        OpenbookError: as `generate`.
    """
    ids = [_ids(tokenizer, prompt) for prompt in prompts]
    decoders = [StreamDecoder(tokenizer, beginning=not isinstance(each, str)) for each in prompts]
    stops = [StopText(sampling.stop) for _ in prompts]
    tokens = generate(
        engine,
        ids,
        sampling,
        TokenRules.of(tokenizer.special, sampling.min_tokens, no_repeat_ngram_size=sampling.no_repeat_ngram_size),
        end_ids=tokenizer.end_ids,
        runners_up=runners_up,
        stopped=lambda row: stops[row].found,
    )
    with closing(tokens):
        for chosen in tokens:
            row, finish = chosen.row, chosen.finish
            decoder, stop = decoders[row], stops[row]
            text = "" if finish == "end" else stop.feed(decoder.feed([chosen.token]))
            if finish is not None and not stop.found:
                text += stop.feed(decoder.flush())
            if stop.found:
                finish = "stop"
            elif finish is not None:
                text += stop.flush()
            yield Piece(row, text, chosen, finish)


def answer(
    engine: Engine, tokenizer: Tokenizer, prompts: Sequence[Prompt], sampling: Sampling, *, runners_up: int = 0
) -> list[Answer]:
    """The whole answer to each prompt, in order; arguments as for `stream`."""
    pieces: list[list[Piece]] = [[] for _ in prompts]
    with closing(stream(engine, tokenizer, prompts, sampling, runners_up=runners_up)) as arriving:
        for piece in arriving:
            pieces[piece.row].append(piece)
    return [_joined(row) for row in pieces]


def search(
    engine: Engine, tokenizer: Tokenizer, prompts: Sequence[Prompt], beams: BeamSearch
) -> list[tuple[Candidate, ...]]:
    """The likeliest continuations of each prompt, best first; prompts are as for `stream`."""
    ids = [_ids(tokenizer, prompt) for prompt in prompts]
    rules = TokenRules.of(tokenizer.special, beams.min_tokens, no_repeat_ngram_size=beams.no_repeat_ngram_size)
    found = {each.row: each.hypotheses for each in beam_search(engine, ids, beams, rules, end_ids=tokenizer.end_ids)}
    return [
        tuple(Candidate(tokenizer.decode(each.tokens, skip_special=True), each) for each in found[row])
        for row in range(len(prompts))
    ]


def _ids(tokenizer: Tokenizer, prompt: Prompt) -> Sequence[int]:
    return tokenizer.encode_prompt(prompt) or [tokenizer.end_id] if isinstance(prompt, str) else prompt


def _joined(pieces: Sequence[Piece]) -> Answer:
    finish = pieces[-1].finish
    assert finish is not None, "the stream ends when every row is finished"
    return Answer("".join(piece.text for piece in pieces), tuple(piece.chosen for piece in pieces), finish)
