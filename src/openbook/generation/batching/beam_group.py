"""Beam searches that step together."""

from collections.abc import Hashable, Sequence
from dataclasses import replace
from itertools import count

from openbook.generation.arrays import FloatArray
from openbook.generation.batching.active_request import ActiveRequest
from openbook.generation.beam_batch import BeamBatch
from openbook.generation.beam_state import BeamState
from openbook.generation.candidates import Candidates
from openbook.generation.engines.engine import Session
from openbook.generation.hypotheses import NBest
from openbook.generation.settings import BeamSearch

_numbers = count()


class BeamGroup:
    """Searches with the same settings and rules.

    Args:
        actives: the requests.
        settings: their decoding.
        session: a row for each, which has read its prompt.
        logits: (B, V) after them.
    """

    def __init__(
        self, actives: Sequence[ActiveRequest], settings: BeamSearch, session: Session, logits: FloatArray
    ) -> None:
        self.actives = {next(_numbers): active for active in actives}
        rules, limits = actives[0].request.rules, [active.limit for active in actives]
        rows = [NBest(row, each.limit, settings, each.request.text_of) for row, each in self.actives.items()]
        state = BeamState.start([active.request.prompt for active in actives], limits)
        self._batch = BeamBatch(Candidates(settings, rules, logits.shape[-1]), session, logits, rows, state)
        self.kind: Hashable = (replace(settings, max_tokens=1), rules)

    def step(self) -> None:
        """Extend every beam by a token; tell what is found."""
        for row, hypotheses in self._batch.step():
            self.actives.pop(row).tell_hypotheses(hypotheses)

    def join(self, other: "BeamGroup") -> None:
        """Append the searches of another group of the same kind; both have made a step."""
        self._batch.join(other._batch)
        self.actives |= other.actives

    def drop_cancelled(self) -> None:
        """End the searches that nobody waits for."""
        gone = [number for number, active in self.actives.items() if active.is_cancelled()]
        if gone:
            self._batch.discard(gone)
        for number in gone:
            self.actives.pop(number).tell_cancelled()
