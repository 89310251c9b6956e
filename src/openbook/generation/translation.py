"""Sentences in, translations out, in order: encoded, decoded many at once, and whatever cannot be is reported."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from openbook.errors import OpenbookError
from openbook.generation.beam_search import Hypothesis
from openbook.generation.engines.torch_engine import Engine
from openbook.generation.settings import BeamSearch, Sampling
from openbook.generation.text import Candidate
from openbook.generation.token_rules import TokenRules
from openbook.generation.token_translator import BATCH_TOKENS, TokenTranslator
from openbook.text.tokenizer.tokenizer import Tokenizer


@dataclass(frozen=True)
class Sentence:
    """What to translate; with a `problem`, it could not even be read."""

    text: str
    problem: str | None = None


@dataclass(frozen=True)
class Translation:
    """The translations of one sentence, best first; none, and a `problem`, where it was skipped."""

    source: str
    candidates: tuple[Candidate, ...]
    problem: str | None = None

    @property
    def text(self) -> str:
        """The best translation, or nothing."""
        return self.candidates[0].text if self.candidates else ""


@dataclass(frozen=True)
class _Item:
    """A sentence, and the token ids that its model reads: none if there is a problem."""

    sentence: Sentence
    ids: list[int]
    problem: str | None


@dataclass(frozen=True, kw_only=True)
class Translator:
    """A model with its tokenizers, and how to decode.

    `reader` encodes sources, `writer` decodes targets. A decoder-only model reads the source, then the separator.
    `source_language` is a code for a model that has several; the others are as in `TokenTranslator`.
    """

    engine: Engine
    reader: Tokenizer
    writer: Tokenizer
    how: BeamSearch | Sampling
    source_language: str | None = None
    language: str | None = None
    bounded: bool = True
    batch_tokens: int = BATCH_TOKENS

    @cached_property
    def tokens(self) -> TokenTranslator:
        """What translates token ids."""
        return TokenTranslator(
            engine=self.engine,
            special=self.writer.special,
            how=self.how,
            language=self.language,
            bounded=self.bounded,
            batch_tokens=self.batch_tokens,
        )

    @property
    def rules(self) -> TokenRules:
        """What the special tokens ask for."""
        return self.tokens.rules

    def __call__(self, windows: Iterable[Sequence[Sentence]]) -> Iterator[Translation]:
        """The translation of every sentence, in order; see `batching.in_order`.

        Raises:
            OpenbookError: a language is unknown, or sampling has stop texts, which translations do not heed.
        """
        if isinstance(self.how, Sampling) and self.how.stop:
            raise OpenbookError("stop: a translation ends by itself; leave it out")
        return self._translations(windows)

    def _translations(self, windows: Iterable[Sequence[Sentence]]) -> Iterator[Translation]:
        under_way: deque[_Item] = deque()

        def sources() -> Iterator[list[list[int]]]:
            for window in windows:
                items = [self._item(sentence) for sentence in window]
                under_way.extend(items)
                yield [item.ids for item in items]

        for hypotheses in self.tokens(sources()):
            item = under_way.popleft()
            found = tuple(Candidate(self._text(each), each) for each in hypotheses)
            yield Translation(item.sentence.text, found, item.problem)

    def read(self, text: str) -> list[int]:
        """The token ids of a source, with all that stands around it."""
        ids = self.reader.encode_source(text, self.source_language)
        if self.engine.source_vocab_size is not None:
            return ids
        separator = self.writer.special.separator
        if separator is None:
            raise OpenbookError("this model is decoder-only and was not trained on pairs: it continues, ask it instead")
        return [*ids, separator]

    def target(self, text: str) -> list[int]:
        """The token ids of a translation that somebody gives, from what the decoder begins with to the end token."""
        special = self.writer.special
        return [self.tokens.start, *self.rules.forced_first, *self.writer.encode(text), special.end[0]]

    def _item(self, sentence: Sentence) -> _Item:
        if sentence.problem is not None:
            return _Item(sentence, [], sentence.problem)
        if not sentence.text.strip():
            return _Item(sentence, [], "it is empty")
        ids, most = self.read(sentence.text), self.engine.context
        if len(ids) > most:
            return _Item(sentence, [], f"it has {len(ids):,} tokens, and the model reads at most {most:,}")
        return _Item(sentence, ids, None)

    def _text(self, hypothesis: Hypothesis) -> str:
        return self.writer.decode(hypothesis.tokens, skip_special=True).strip()
