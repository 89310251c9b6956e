"""The candidates of a beam search's step: the best continuations that the token rules allow."""

import math

import numpy as np

from openbook.errors import OpenbookError
from openbook.generation.arrays import FloatArray, log_softmax, top_indices
from openbook.generation.beam_state import BeamState
from openbook.generation.engines.engine import Continuations
from openbook.generation.settings import BeamSearch
from openbook.generation.token_rules import TokenRules


class Candidates:
    """How many continuations a step needs, which tokens end a sequence, which are forbidden."""

    def __init__(self, settings: BeamSearch, rules: TokenRules, vocab_size: int) -> None:
        rules.check(vocab_size)
        self.settings, self.rules = settings, rules
        self.suppressed = np.array(rules.suppressed, dtype=np.int64)
        self.is_end = np.zeros(vocab_size, dtype=bool)
        self.is_end[[token for token in rules.end_ids if token < vocab_size]] = True

    @property
    def count(self) -> int:
        """Enough for `beam_size` beams to continue even if every beam's best continuations are all its ends.

        A single beam is done when it ends, and needs nothing to continue with.
        """
        beams = self.settings.beam_size
        return 1 if beams == 1 else max(2, 1 + len(self.rules.end_ids)) * beams

    def of_logits(self, logits: FloatArray, state: BeamState) -> Continuations:
        """The best continuations by logits (B, W, V), with all token rules applied."""
        scores = self.rules.apply(log_softmax(logits), lambda: state.tokens, state.produced, state.at_last)
        sums = (scores + state.log_probs[..., None]).reshape(len(scores), -1)
        indices = top_indices(sums, self.count)
        return Continuations.from_flat(np.take_along_axis(sums, indices, -1), indices, logits.shape[-1])

    def checked(self, found: Continuations) -> Continuations:
        """At least `beam_size` of them: a small vocabulary has fewer sequences than beams at first.

        Raises:
            OpenbookError: the logits are not finite.
        """
        if math.isnan(found.log_probs[:, 0].sum()):
            raise OpenbookError("the model's logits are not finite: its weights are damaged, or training went astray")
        missing = self.settings.beam_size - found.log_probs.shape[1]
        if missing <= 0:
            return found
        pad = (0, 0), (0, missing)
        log_probs = np.pad(found.log_probs, pad, constant_values=-np.inf)
        return Continuations(log_probs, np.pad(found.parents, pad), np.pad(found.tokens, pad))
