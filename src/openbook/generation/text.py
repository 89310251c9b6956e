"""Text in, text out: answers streamed in chunks that never split a character and never show a stop sequence."""

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial

from openbook.generation.beam_search import beam_search
from openbook.generation.engines.engine import Engine
from openbook.generation.generate import FinishReason, GeneratedToken, generate
from openbook.generation.hypotheses import Hypothesis
from openbook.generation.settings import BeamSearch, Sampling
from openbook.generation.stop_sequences import StopSequences
from openbook.generation.token_rules import TokenRules
from openbook.text.tokenizer.tokenizer import StreamDecoder, Tokenizer

Prompt = str | Sequence[int]
"""A text to continue, or token ids after which an answer begins, such as those of a conversation."""


@dataclass(frozen=True)
class TextChunk:
    """What one more token adds to the answer to prompt number `row`.

    `text` may be empty: half a character, or what may become a stop sequence, waits for the tokens after it.
    """

    row: int
    text: str
    token: GeneratedToken
    finish_reason: FinishReason | None


@dataclass(frozen=True)
class Answer:
    """A whole answer: its text, its tokens, and why it ended."""

    text: str
    tokens: tuple[GeneratedToken, ...]
    finish_reason: FinishReason


@dataclass(frozen=True)
class Candidate:
    """One of the n-best: its text, and the hypothesis that a search found."""

    text: str
    hypothesis: Hypothesis


def stream(
    engine: Engine, tokenizer: Tokenizer, prompts: Sequence[Prompt], sampling: Sampling
) -> Generator[TextChunk, None, None]:
    """Stream the answers to all prompts: one chunk for each token. Closing the stream ends all work.

    An empty text stands for a new document. The token that ends an answer adds no text.

    Raises:
        OpenbookError: as `generate`.
    """
    ids = [_ids(tokenizer, prompt) for prompt in prompts]
    decoders = [StreamDecoder(tokenizer, beginning=not isinstance(each, str)) for each in prompts]
    stops = [StopSequences(sampling.stop) for _ in prompts]
    rules = TokenRules.of(tokenizer.special, sampling, unused=tokenizer.ids_without_token(engine.vocab_size))
    tokens = generate(engine, ids, sampling, rules, is_stopped=lambda row: stops[row].found)
    with closing(tokens):
        for token in tokens:
            row, reason = token.row, token.finish_reason
            decoder, stop = decoders[row], stops[row]
            text = "" if reason == "end" else stop.feed(decoder.feed([token.token_id]))
            if reason is not None and not stop.found:
                text += stop.feed(decoder.flush())
            if stop.found:
                reason = "stop"
            elif reason is not None:
                text += stop.flush()
            yield TextChunk(row, text, token, reason)


def answer(engine: Engine, tokenizer: Tokenizer, prompts: Sequence[Prompt], sampling: Sampling) -> list[Answer]:
    """The whole answer to each prompt, in order; arguments as for `stream`."""
    chunks: list[list[TextChunk]] = [[] for _ in prompts]
    with closing(stream(engine, tokenizer, prompts, sampling)) as arriving:
        for chunk in arriving:
            chunks[chunk.row].append(chunk)
    return [_joined(row) for row in chunks]


def search(
    engine: Engine, tokenizer: Tokenizer, prompts: Sequence[Prompt], settings: BeamSearch
) -> list[tuple[Candidate, ...]]:
    """The most probable continuations of each prompt by beam search, best first and no text twice."""
    ids = [_ids(tokenizer, prompt) for prompt in prompts]
    rules = TokenRules.of(tokenizer.special, settings, unused=tokenizer.ids_without_token(engine.vocab_size))
    text_of = partial(tokenizer.decode, skip_special=True)
    found = dict(beam_search(engine, ids, settings, rules, text_of=text_of))
    return [tuple(Candidate(text_of(each.tokens), each) for each in found[row]) for row in range(len(prompts))]


def _ids(tokenizer: Tokenizer, prompt: Prompt) -> Sequence[int]:
    return tokenizer.encode_prompt(prompt) or [tokenizer.end_id] if isinstance(prompt, str) else prompt


def _joined(chunks: Sequence[TextChunk]) -> Answer:
    reason = chunks[-1].finish_reason
    assert reason is not None, "the stream ends when every row is finished"
    return Answer("".join(chunk.text for chunk in chunks), tuple(chunk.token for chunk in chunks), reason)
