"""A sample of what the model writes, now and then while it learns."""

from collections.abc import Callable, Sequence

from openbook.generation.engines.torch_engine import TorchEngine
from openbook.generation.generate import generate
from openbook.generation.settings import Sampling
from openbook.generation.token_rules import TokenRules
from openbook.text.tokenizer.tokenizer import Tokenizer
from openbook.training.loop import Event
from openbook.transformer.transformer import Transformer

SAMPLING = Sampling(max_tokens=40, seed=0, temperature=0.7)
PROMPT = 8
"""Tokens of held-out text to go on from."""


class Samples:
    """After a validation, if the last sample is `every` seconds old, lets the model go on from held-out text.

    Random numbers are the sample's own, so a run learns the same with samples as without.

    Args:
        model: the model that is learning.
        tokenizer: spells its tokens.
        held_out: token ids to take prompts from.
        every: seconds between samples.
        tell: is given the prompt and what the model wrote.
    """

    def __init__(
        self,
        model: Transformer,
        tokenizer: Tokenizer,
        held_out: Sequence[int],
        every: float,
        tell: Callable[[str, str], None],
    ) -> None:
        self._model, self._tokenizer, self._held_out = model, tokenizer, held_out
        self._every, self._tell = every, tell
        self._next, self._place = every, 0

    def __call__(self, event: Event) -> None:
        """See `loop.Callback`."""
        if event["event"] != "validation" or event["seconds"] < self._next:
            return
        self._next = event["seconds"] + self._every
        self._place = (self._place + len(self._held_out) // 7) % max(1, len(self._held_out) - PROMPT)
        prompt = [int(token) for token in self._held_out[self._place : self._place + PROMPT]]
        rules = TokenRules(end_ids=self._tokenizer.end_ids)
        written = [each.token_id for each in generate(TorchEngine(self._model), [prompt], SAMPLING, rules)]
        self._tell(self._tokenizer.decode(prompt), self._tokenizer.decode(written, skip_special=True))
