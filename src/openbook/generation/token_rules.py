"""Rules about which tokens may come: some never, some only after a few others, some at a fixed place."""

from collections.abc import Callable, Collection
from dataclasses import dataclass

import torch
from torch import Tensor

from openbook.errors import OpenbookError
from openbook.text.tokenizer.special_tokens import SpecialTokens


@dataclass(frozen=True, kw_only=True)
class TokenRules:
    """What is ruled out or forced, whatever the model says. Counts are of produced tokens, the prompt apart.

    `never` are tokens that are not produced, such as padding. `forced_first` are the first tokens, such as the code of
    the language to write. `forced_last` is the token at the last place, if an answer gets that far. Fewer than
    `min_tokens` tokens do not end an answer. No `no_repeat_ngram_size` tokens in a row come twice, those of the prompt counted
    (Paulus et al. 2017, section 2.5); 0 is off.
    """

    never: tuple[int, ...] = ()
    forced_first: tuple[int, ...] = ()
    forced_last: int | None = None
    min_tokens: int = 0
    no_repeat_ngram_size: int = 0

    @classmethod
    def of(
        cls, special: SpecialTokens, min_tokens: int = 0, language: str | None = None, *, no_repeat_ngram_size: int = 0
    ) -> "TokenRules":
        """What a vocabulary asks for: padding never comes, and a language begins with its token.

        Raises:
            OpenbookError: the vocabulary has no token for the language.
        """
        never = {*special.suppressed, *([] if special.padding is None else [special.padding])}
        first = special.forced_beginning if language is None else (special.language(language),)
        return cls(
            never=tuple(sorted(never - {*special.end})),
            forced_first=first,
            forced_last=special.forced_end,
            min_tokens=min_tokens,
            no_repeat_ngram_size=no_repeat_ngram_size,
        )

    @property
    def plain(self) -> bool:
        """Whether all it says is which tokens never come."""
        return not (self.forced_first or self.min_tokens or self.no_repeat_ngram_size) and self.forced_last is None

    def check(self, vocab_size: int) -> None:
        """Raise OpenbookError for tokens that are not in a vocabulary of this size, or if nothing is left of it."""
        named = [*self.never, *self.forced_first, *([] if self.forced_last is None else [self.forced_last])]
        for token in named:
            if not 0 <= token < vocab_size:
                raise OpenbookError(f"a rule names the token {token}; there are tokens from 0 to {vocab_size - 1}")
        if len(set(self.never)) >= vocab_size:
            raise OpenbookError("the rules allow no token at all; name fewer in `never`")

    def apply(
        self, scores: Tensor, tokens: Callable[[], Tensor], produced: Tensor, last: Tensor, end_ids: Collection[int]
    ) -> Tensor:
        """Write −∞ into logits or log-probabilities for what may not come, and 0 for what must.

        Log-probabilities are not made to add up to 1 again: a sequence is worth what the model says of it.

        Args:
            scores: (B, …, V) of the next token.
            tokens: gives all tokens so far (B, …, T), −1 before the first; asked only where a rule needs them.
            produced: (B,) how many tokens the row has produced before.
            last: (B,) True where it is the last that the row may produce.
        """
        device = scores.device
        if self.never:
            scores = scores.index_fill_(-1, torch.tensor(self.never, device=device), -torch.inf)
        if self.min_tokens and end_ids and bool((produced < self.min_tokens).any()):
            out = torch.zeros(scores.shape[-1], dtype=torch.bool, device=device)
            out[list(end_ids)] = True
            scores = scores.masked_fill(_of_rows(produced < self.min_tokens, scores) & out, -torch.inf)
        if self.no_repeat_ngram_size:
            scores = scores.masked_fill(repeating(tokens(), self.no_repeat_ngram_size, scores.shape[-1]), -torch.inf)
        for place, token in enumerate(self.forced_first):
            if bool((produced == place).any()):
                scores = torch.where(_of_rows(produced == place, scores), _only(scores, token), scores)
        if self.forced_last is not None and bool(last.any()):
            scores = torch.where(_of_rows(last, scores), _only(scores, self.forced_last), scores)
        return scores


def repeating(tokens: Tensor, count: int, vocab_size: int) -> Tensor:
    """Which next tokens would make the last `count` of (B, …, T) a row that is there already: (B, …, V)."""
    found = torch.zeros(*tokens.shape[:-1], vocab_size, dtype=torch.bool, device=tokens.device)
    if tokens.shape[-1] < count:
        return found
    rows = tokens.unfold(-1, count, 1)
    newest = tokens[..., None, tokens.shape[-1] - count + 1 :]
    # A row with padding in it is no row: where the newest tokens have some, it is not at the same place.
    again = (rows[..., :-1] == newest).all(-1) & (rows[..., -1] >= 0)
    return found.scatter_reduce(-1, rows[..., -1].clamp(min=0), again, "amax")


def _of_rows(each: Tensor, scores: Tensor) -> Tensor:
    """(B,) so that it applies to all of its row's scores (B, …, V)."""
    return each.view(-1, *[1] * (scores.dim() - 1))


def _only(scores: Tensor, token: int) -> Tensor:
    forced = torch.full_like(scores, -torch.inf)
    forced[..., token] = 0.0
    return forced


NO_RULES = TokenRules()
