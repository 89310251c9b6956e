"""Rules about tokens: which end an answer, which are suppressed, which are forced."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from openbook.errors import OpenbookError
from openbook.generation.arrays import BoolArray, FloatArray, IntArray
from openbook.generation.settings import BeamSearch, Sampling
from openbook.text.tokenizer.special_tokens import SpecialTokens


@dataclass(frozen=True, kw_only=True)
class TokenRules:
    """What may follow, whatever the model predicts. Counts are of produced tokens, without the prompt.

    Attributes:
        end_ids: tokens that end an answer.
        suppressed: tokens that are never produced, such as padding.
        forced_prefix: the first tokens, such as the code of the target language.
        forced_end: the token at the limit, if an answer gets that far.
        min_tokens: an answer does not end before it has so many tokens.
        no_repeat_ngram_size: no n-gram of this size occurs twice, prompt included (Paulus et al. 2017, section 2.5);
            0 is off.
    """

    end_ids: frozenset[int] = frozenset()
    suppressed: tuple[int, ...] = ()
    forced_prefix: tuple[int, ...] = ()
    forced_end: int | None = None
    min_tokens: int = 0
    no_repeat_ngram_size: int = 0

    @classmethod
    def of(
        cls,
        special: SpecialTokens,
        settings: BeamSearch | Sampling,
        target_language: str | None = None,
        *,
        unused: Iterable[int] = (),
    ) -> "TokenRules":
        """The rules of a vocabulary and of the settings; a translation begins with the token of its language.

        Args:
            special: the roles of special tokens.
            settings: how to decode.
            target_language: its code.
            unused: ids that stand for no token; they are suppressed.

        Raises:
            OpenbookError: the vocabulary has no token for the language.
        """
        suppressed = {*special.suppressed, *unused, *([] if special.padding is None else [special.padding])}
        return cls(
            end_ids=frozenset(special.end),
            suppressed=tuple(sorted(suppressed - {*special.end})),
            forced_prefix=special.forced_beginning if target_language is None else (special.language(target_language),),
            forced_end=special.forced_end,
            min_tokens=settings.min_tokens,
            no_repeat_ngram_size=settings.no_repeat_ngram_size,
        )

    @property
    def only_suppresses(self) -> bool:
        """Whether the rules are the same at every step: suppressed tokens and nothing else."""
        return not (self.forced_prefix or self.min_tokens or self.no_repeat_ngram_size) and self.forced_end is None

    def check(self, vocab_size: int) -> None:
        """Raise OpenbookError for tokens outside a vocabulary of this size, or if nothing is left of it."""
        named = [*self.suppressed, *self.forced_prefix, *([] if self.forced_end is None else [self.forced_end])]
        for token in named:
            if not 0 <= token < vocab_size:
                raise OpenbookError(f"a rule names the token {token}; there are tokens from 0 to {vocab_size - 1}")
        if len(set(self.suppressed)) >= vocab_size:
            raise OpenbookError("the rules allow no token at all; suppress fewer")

    def apply(
        self, scores: FloatArray, tokens: Callable[[], IntArray], produced: IntArray, at_last: BoolArray
    ) -> FloatArray:
        """Logits or log-probabilities with −∞ for what may not come, and 0 for what must.

        Log-probabilities are not renormalised: a sequence keeps the probability that the model gives it.

        Args:
            scores: (B, …, V) of the next token.
            tokens: returns all tokens so far (B, …, T), −1 before the first; called only where a rule needs them.
            produced: (B,) tokens the row has produced so far.
            at_last: (B,) True where the next token is the last that the row may produce.
        """
        scores = scores.copy()
        if self.suppressed:
            scores[..., list(self.suppressed)] = -np.inf
        if self.min_tokens and self.end_ids:
            is_end = np.zeros(scores.shape[-1], dtype=bool)
            is_end[[token for token in self.end_ids if token < len(is_end)]] = True
            too_short = (produced < self.min_tokens).reshape(-1, *[1] * (scores.ndim - 1))
            scores[np.broadcast_to(too_short & is_end, scores.shape)] = -np.inf
        if self.no_repeat_ngram_size:
            scores[repeated_ngrams(tokens(), self.no_repeat_ngram_size, scores.shape[-1])] = -np.inf
        for index, token in enumerate(self.forced_prefix):
            _force(scores, produced == index, token)
        if self.forced_end is not None:
            _force(scores, at_last, self.forced_end)
        return scores


def repeated_ngrams(tokens: IntArray, size: int, vocab_size: int) -> BoolArray:
    """(B, …, V): which next tokens would complete an n-gram of this size that tokens (B, …, T) already contain."""
    found = np.zeros((*tokens.shape[:-1], vocab_size), dtype=bool)
    if tokens.shape[-1] < size:
        return found
    ngrams = np.lib.stride_tricks.sliding_window_view(tokens, size, axis=-1)
    newest = tokens[..., None, tokens.shape[-1] - size + 1 :]
    # An n-gram with padding in it is none: newest tokens that contain padding match only themselves.
    again = (ngrams[..., :-1] == newest).all(-1) & (ngrams[..., -1] >= 0)
    places = np.nonzero(again)
    found[(*places[:-1], ngrams[..., -1][places])] = True
    return found


def _force(scores: FloatArray, rows: BoolArray, token: int) -> None:
    """Leave only this token to these rows (B,) of scores (B, …, V)."""
    scores[rows] = -np.inf
    scores[rows, ..., token] = 0.0


NO_RULES = TokenRules()
