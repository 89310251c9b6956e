"""What a client asks of a batcher, in token ids."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from openbook.errors import SettingError
from openbook.generation.arrays import BoolArray
from openbook.generation.engines.engine import Engine
from openbook.generation.generate import check_biases, check_prompts, limits_in_context
from openbook.generation.hypotheses import TextOf
from openbook.generation.settings import BeamSearch, Sampling
from openbook.generation.token_rules import NO_RULES, TokenRules

MAX_CHOICES = 1_000


class TokenMask(Protocol):
    """Which tokens a grammar allows, step by step. It is called on the batcher's thread, and must be quick."""

    def allowed(self) -> BoolArray:
        """(V,) which tokens may come next; an end token where the text may end. None of them: the choice ends here."""
        ...

    def accept(self, token_id: int) -> None:
        """Take the token that was chosen."""
        ...


@dataclass(frozen=True, kw_only=True)
class BatchRequest:
    """Token ids to continue, and how.

    Attributes:
        prompt: token ids; of an encoder-decoder those that its decoder starts from.
        source: of an encoder-decoder.
        decoding: sampling or a beam search. Its `stop` and `top_alternatives` are ignored: see below.
        rules: tokens that end an answer, are suppressed, or forced.
        max_tokens: instead of that of `decoding`; 0 reads the prompt and produces nothing.
        n: choices to sample, from one reading of the prompt. Choice i is what a request with the seed + i gives alone.
        best_of: sample so many, and return the n whose mean log-probability is highest; nothing comes before all are
            finished.
        top_logprobs: give the log-probability of each token, and so many most probable ones; None gives none.
        prompt_logprobs: the same for the prompt.
        stop: makes a check for each choice, which is called with every token but one that ends an answer, on the
            batcher's thread; where it is true the choice ends.
        mask: makes a mask for each choice.
        text_of: what the tokens of a beam read as: the n best read differently.
        client: who asks, for fairness between clients.
    """

    prompt: Sequence[int]
    source: Sequence[int] | None = None
    decoding: Sampling | BeamSearch
    rules: TokenRules = NO_RULES
    max_tokens: int | None = None
    n: int = 1
    best_of: int | None = None
    top_logprobs: int | None = None
    prompt_logprobs: int | None = None
    stop: Callable[[], Callable[[int], bool]] | None = None
    mask: Callable[[], TokenMask] | None = None
    text_of: TextOf | None = None
    client: str = ""

    @property
    def sampled(self) -> int:
        """How many rows it takes: choices to sample, or beams."""
        return self.decoding.beam_size if isinstance(self.decoding, BeamSearch) else self.best_of or self.n

    @property
    def choices(self) -> int:
        """How many choices it returns at most."""
        return self.decoding.n_best if isinstance(self.decoding, BeamSearch) else self.n

    def limit(self, engine: Engine) -> int:
        """How many tokens a choice may produce within the context."""
        asked = self.decoding.max_tokens if self.max_tokens is None else self.max_tokens
        return limits_in_context(engine, [self.prompt], [asked])[0]

    def check(self, engine: Engine) -> None:
        """Raise OpenbookError if this engine cannot answer it."""
        check_prompts([self.prompt], engine.vocab_size)
        engine.check_sources([self.prompt], None if self.source is None else [self.source])
        if self.source is not None and engine.source_vocab_size is not None:
            check_prompts([self.source], engine.source_vocab_size)
            limits_in_context(engine, [self.source], [1])
        self.rules.check(engine.vocab_size)
        if min(self.rules.end_ids, default=0) < 0:
            raise SettingError(f"a token that ends an answer is {min(self.rules.end_ids)}; token ids begin with 0")
        self._check_counts(engine.vocab_size)
        if isinstance(self.decoding, Sampling):
            check_biases(self.decoding, engine.vocab_size)
            return
        for name in ("best_of", "top_logprobs", "stop", "mask"):
            if getattr(self, name) is not None:
                raise SettingError(f"`{name}` is for sampling; leave it out of a beam search")
        if self.n != 1:
            raise SettingError("`n` is for sampling; a beam search takes `n_best`")

    def _check_counts(self, vocab_size: int) -> None:
        for name, least, most in (
            ("n", 1, MAX_CHOICES),
            ("best_of", self.n, MAX_CHOICES),
            ("max_tokens", 0, 2**31),
            ("top_logprobs", 0, vocab_size),
            ("prompt_logprobs", 0, vocab_size),
        ):
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                raise SettingError(f"`{name}` is {value}; give a whole number from {least} to {most}")
