"""Rows that sample together: a token for each in every step; rows join and leave between steps."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from openbook.generation.arrays import FloatArray
from openbook.generation.batching.active_request import ActiveRequest
from openbook.generation.batching.choice import Choice
from openbook.generation.engines.engine import Session


@dataclass(frozen=True, eq=False)
class Row:
    """A choice of a request that decodes."""

    active: ActiveRequest
    choice: Choice

    @property
    def held_tokens(self) -> int:
        """Tokens that its keys and values are kept of."""
        return len(self.choice.tokens) + len(self.active.request.source or ())

    def take_next(self, logits: FloatArray) -> bool:
        """Choose the next token by logits (V,), and tell it; return whether the choice goes on."""
        try:
            token = self.choice.next_token(logits)
        except Exception as error:  # of this request alone: its mask, its stop check, its numbers
            self.active.tell_failed(error)
            return False
        self.active.tell_token(self.choice, token)
        return self.choice.finish_reason is None


class SamplingGroup:
    """The rows of one session; `leave` is called with a row's place in the session while it is still there."""

    def __init__(self, session: Session, rows: Sequence[Row]) -> None:
        self.session, self.rows = session, list(rows)

    def join(self, other: "SamplingGroup") -> None:
        """Append the rows of another group, which must not be used again."""
        self.session.join([other.session])
        self.rows += other.rows

    def step(self, leave: Callable[[Session, int, Row], None]) -> None:
        """A token for every row; rows that are complete leave."""
        tokens = np.array([[row.choice.newest] for row in self.rows], dtype=np.int64)
        logits = self.session.step(tokens)[:, 0]
        going = [row.take_next(each) for row, each in zip(self.rows, logits, strict=True)]
        self.keep(going, leave)

    def keep(self, going: Sequence[bool], leave: Callable[[Session, int, Row], None]) -> None:
        """Only these rows stay."""
        if all(going):
            return
        for place, (row, stays) in enumerate(zip(self.rows, going, strict=True)):
            if not stays:
                leave(self.session, place, row)
        places = [place for place, stays in enumerate(going) if stays]
        self.rows = [self.rows[place] for place in places]
        if places:
            self.session.reorder(places)
