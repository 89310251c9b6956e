"""What `explain` shows of a traced run, as data for people and programs."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal

from openbook.explanation.attention_rows import AttentionRow
from openbook.explanation.derivations import Derivation
from openbook.explanation.reader import OperandKind


@dataclass(frozen=True)
class Token:
    """A token of the prompt, the source or the target.

    `place` counts all columns, `position` is what the model sees, −1 at padding; `template` tells the tokens that a
    chat template wrote around the prompt.
    """

    place: int
    position: int
    id: int
    text: str
    template: bool = False


@dataclass(frozen=True)
class Source:
    """A name in a formula and what stands behind it.

    `path` is a recorded path, a tensor's name, or for a constant where the architecture has it from; a tensor has a
    `shape`, a constant a `value`. `byte` is where a weight begins in the model file, if that is known.
    """

    name: str
    kind: OperandKind
    path: str
    shape: tuple[int, ...] = ()
    byte: int | None = None
    value: float | None = None


@dataclass(frozen=True)
class Quantity:
    """A recorded quantity: what it means, how it follows, and the first numbers for the chosen head and token.

    `axes` are the letters of its shape, `chosen` the index that was taken along each axis but the last, and
    `numbers` the first of the `length` numbers along the last.
    """

    path: str
    shape: tuple[int, ...]
    axes: tuple[str, ...]
    chosen: tuple[int, ...]
    meaning: str
    formula: str
    sources: tuple[Source, ...]
    numbers: tuple[float, ...]
    length: int


@dataclass(frozen=True)
class Look:
    """The place of the token that weighs most, and how much it weighs."""

    place: int
    weight: float


@dataclass(frozen=True)
class Layer:
    """One block at a glance, for the chosen head and token.

    `looks_at` is for each attention what it looks at most, None where it has no such head. `adds` is the length of the
    vector that each sublayer adds to the residual stream, `length` that of the stream after the block.
    """

    number: int
    looks_at: Mapping[str, Look | None]
    adds: Mapping[str, float]
    length: float


@dataclass(frozen=True)
class Neuron:
    """A neuron of the feed-forward part, with each value recorded of it: gate, activation, up, hidden."""

    number: int
    values: Mapping[str, float]


@dataclass(frozen=True)
class Candidate:
    """A token that may come next."""

    id: int
    text: str
    logit: float
    probability: float


@dataclass(frozen=True)
class Said:
    """What the model would say after the followed token if this layer were its last; see `lens.Reading`.

    `text` spells `id`, the most probable token there; `answer` is the probability there of what the last layer finds
    most probable, `rank` its place among all tokens.
    """

    layer: int
    id: int
    text: str
    probability: float
    answer: float
    rank: int


@dataclass(frozen=True)
class Summary:
    """A traced run in the order in which it was computed.

    `layer`, `head` and `token` are what was chosen to be shown, out of `layers`, `heads` and `tokens`: those of the
    prompt, or for an encoder-decoder of the target, or where `stack` is the encoder of the `source`.
    `before` are the quantities before the blocks, `detail` those of the chosen block, `after` those after the blocks.
    `attention` has the rows of each attention part of the chosen block, `neurons` its most active ones, the largest
    first, out of `neuron_count`; `candidates` the most probable next tokens, the chosen one first, out of `vocabulary`;
    `said` what each layer would say. An encoder says nothing and has no candidates.
    """

    layer: int
    head: int
    token: int
    heads: int
    vocab_size: int
    neuron_count: int
    stack: Literal["decoder", "encoder"]
    source: tuple[Token, ...]
    tokens: tuple[Token, ...]
    before: tuple[Quantity, ...]
    layers: tuple[Layer, ...]
    detail: tuple[Quantity, ...]
    attention: Mapping[str, tuple[AttentionRow, ...]]
    neurons: tuple[Neuron, ...]
    after: tuple[Quantity, ...]
    candidates: tuple[Candidate, ...]
    said: tuple[Said, ...] = ()

    def seen_by(self, part: str) -> tuple[Token, ...]:
        """The tokens that the attention part at this path looks at."""
        return self.source if part.endswith("cross_attention") else self.tokens


def as_json(shown: Summary | Derivation) -> dict[str, object]:
    """The same in JSON's values; a number that is not finite, as a masked score is, becomes null."""
    return {name: _value(each) for name, each in asdict(shown).items()}


def _value(value: object) -> object:
    if isinstance(value, Mapping):
        return {name: _value(each) for name, each in value.items()}
    if isinstance(value, tuple | list):
        return [_value(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
