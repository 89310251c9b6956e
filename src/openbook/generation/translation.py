"""Translation of sentences, many at once and in order; a sentence that cannot be translated says why."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from openbook.errors import OpenbookError
from openbook.generation.engines.engine import Engine
from openbook.generation.settings import BeamSearch, Sampling
from openbook.generation.text import Candidate
from openbook.generation.token_rules import TokenRules
from openbook.generation.token_translator import BATCH_TOKENS, TokenTranslator
from openbook.text.characters import clean_line
from openbook.text.formatting import format_count
from openbook.text.tokenizer.tokenizer import Tokenizer


@dataclass(frozen=True)
class Sentence:
    """A sentence to translate; with a `problem`, it could not even be read."""

    text: str
    problem: str | None = None


@dataclass(frozen=True)
class Translation:
    """The translations of a sentence, best first; none, and a `problem`, if it was skipped."""

    source: str
    candidates: tuple[Candidate, ...]
    problem: str | None = None

    @property
    def text(self) -> str:
        """The best translation; "" if there is none."""
        return self.candidates[0].text if self.candidates else ""


@dataclass(frozen=True)
class _Item:
    """A sentence and its source tokens: none if there is a problem."""

    sentence: Sentence
    ids: list[int]
    problem: str | None


@dataclass(frozen=True, kw_only=True)
class Translator:
    """A model with its tokenizers, and how to decode; see `TokenTranslator` for what is not said here.

    Attributes:
        source_tokenizer: encodes sources. For a decoder-only model the separator follows.
        target_tokenizer: decodes translations.
        source_language: its code, for a model that has several.
    """

    engine: Engine
    source_tokenizer: Tokenizer
    target_tokenizer: Tokenizer
    decoding: BeamSearch | Sampling
    source_language: str | None = None
    target_language: str | None = None
    bounded: bool = True
    batch_tokens: int = BATCH_TOKENS

    @cached_property
    def token_translator(self) -> TokenTranslator:
        """The same for token ids."""
        return TokenTranslator(
            engine=self.engine,
            special=self.target_tokenizer.special,
            decoding=self.decoding,
            target_language=self.target_language,
            unused=self.target_tokenizer.ids_without_token(self.engine.vocab_size),
            bounded=self.bounded,
            batch_tokens=self.batch_tokens,
            text_of=lambda tokens: clean_line(self._text(tokens)),
        )

    @property
    def rules(self) -> TokenRules:
        """The token rules of the target."""
        return self.token_translator.rules

    def __call__(self, windows: Iterable[Sequence[Sentence]]) -> Iterator[Translation]:
        """The translation of every sentence, in order; see `scheduling.map_in_order`.

        Raises:
            OpenbookError: a language is unknown, or there are stop sequences, which do not apply to translations.
        """
        if isinstance(self.decoding, Sampling) and self.decoding.stop:
            raise OpenbookError("stop: a translation ends by itself; leave it out")
        return self._translations(windows)

    def _translations(self, windows: Iterable[Sequence[Sentence]]) -> Iterator[Translation]:
        under_way: deque[_Item] = deque()

        def sources() -> Iterator[list[list[int]]]:
            for window in windows:
                items = [self._item(sentence) for sentence in window]
                under_way.extend(items)
                yield [item.ids for item in items]

        for hypotheses in self.token_translator(sources()):
            item = under_way.popleft()
            candidates = tuple(Candidate(self._text(each.tokens), each) for each in hypotheses)
            yield Translation(item.sentence.text, candidates, item.problem)

    def encode_source(self, text: str) -> list[int]:
        """The token ids of a source, cleaned as those of training are, special tokens included."""
        ids = self.source_tokenizer.encode_source(clean_line(text), self.source_language)
        if self.engine.source_vocab_size is not None:
            return ids
        separator = self.target_tokenizer.special.separator
        if separator is None:
            raise OpenbookError("this model is decoder-only and was not trained on pairs: it continues, ask it instead")
        return [*ids, separator]

    def encode_target(self, text: str) -> list[int]:
        """The token ids of a given translation, cleaned likewise, from the decoder's start token to the end token."""
        special, start = self.target_tokenizer.special, self.token_translator.start
        return [start, *self.rules.forced_prefix, *self.target_tokenizer.encode(clean_line(text)), special.end[0]]

    def _item(self, sentence: Sentence) -> _Item:
        if sentence.problem is not None:
            return _Item(sentence, [], sentence.problem)
        if not clean_line(sentence.text):
            return _Item(sentence, [], "it is empty")
        ids, most = self.encode_source(sentence.text), self.engine.context
        if len(ids) > most:
            return _Item(
                sentence, [], f"it has {format_count(len(ids), 'token')}, and the model reads at most {most:,}"
            )
        return _Item(sentence, ids, None)

    def _text(self, tokens: Sequence[int]) -> str:
        return self.target_tokenizer.decode(tokens, skip_special=True).strip()
