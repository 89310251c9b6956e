"""A traced run at a glance, as data for people and programs. It belongs to one token, one head and one layer."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal

from openbook.explanation.derivations import Derivation
from openbook.explanation.reader import OperandKind
from openbook.explanation.views.attention_rows import AttentionRow
from openbook.explanation.views.lens import LensPrediction


@dataclass(frozen=True)
class Token:
    """A token of the prompt, the source or the target.

    Attributes:
        index: its column, padding counted.
        position: what the model sees, −1 at padding.
        id: in the vocabulary.
        text: how it is spelled.
        template: whether a chat template wrote it around the prompt.
    """

    index: int
    position: int
    id: int
    text: str
    template: bool = False


@dataclass(frozen=True)
class Origin:
    """A name in a formula, and where its numbers come from.

    Attributes:
        name: as in the formula, without its index.
        kind: of operand.
        path: a recorded path, a tensor's name, or for a constant where in the architecture it comes from.
        shape: of a weight.
        byte: where a weight begins in the model file, if that is known.
        value: of a constant.
    """

    name: str
    kind: OperandKind
    path: str
    shape: tuple[int, ...] = ()
    byte: int | None = None
    value: float | None = None


@dataclass(frozen=True)
class RecordedTensor:
    """A recorded tensor: what it means, how it follows, and its first numbers for the chosen head and token.

    Attributes:
        path: under which it is recorded.
        shape: of the whole tensor.
        axes: the letters of its shape.
        index: what was chosen along each axis but the last.
        meaning: what its numbers are, for a newcomer.
        formula: how they follow.
        origins: the names of the formula.
        numbers: the first ones along the last axis.
        length: of the last axis.
    """

    path: str
    shape: tuple[int, ...]
    axes: tuple[str, ...]
    index: tuple[int, ...]
    meaning: str
    formula: str
    origins: tuple[Origin, ...]
    numbers: tuple[float, ...]
    length: int


@dataclass(frozen=True)
class Attended:
    """The token with the largest weight, and that weight."""

    index: int
    weight: float


@dataclass(frozen=True)
class Layer:
    """One block at a glance, for the chosen head and token.

    Attributes:
        number: from 0.
        attends_to: for each attention the token with the largest weight; None where it has no such head.
        added_length: for each sublayer the length of the vector that it adds to the residual stream.
        residual_length: the length of the residual stream after the block.
    """

    number: int
    attends_to: Mapping[str, Attended | None]
    added_length: Mapping[str, float]
    residual_length: float


@dataclass(frozen=True)
class Neuron:
    """A neuron of the feed-forward part, with each of its recorded values: gate, activation, up, hidden."""

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
class LayerPrediction(LensPrediction):
    """What a layer predicts after the chosen token, with the predicted token's text."""

    text: str


@dataclass(frozen=True)
class Summary:
    """A traced run in the order in which it was computed.

    Attributes:
        layer, head, token: what was chosen, out of `layers`, `heads` and `tokens`.
        heads: how many the chosen layer has.
        vocab_size: how many tokens the vocabulary has.
        stack: whether the decoder or the encoder is shown.
        source: the tokens of the source, for an encoder-decoder.
        tokens: those of the prompt, of the target so far, or of the source where the encoder is shown.
        before: what is recorded before the blocks.
        layers: all blocks at a glance.
        detail: what is recorded in the chosen block.
        attention: for each attention part of the chosen block, by path, its rows.
        neurons: the most active ones of the chosen block, the largest first, out of `neuron_count`.
        after: what is recorded after the blocks.
        candidates: the most probable tokens after the chosen one, best first; none for an encoder.
        layer_predictions: what each layer predicts; none for an encoder.
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
    before: tuple[RecordedTensor, ...]
    layers: tuple[Layer, ...]
    detail: tuple[RecordedTensor, ...]
    attention: Mapping[str, tuple[AttentionRow, ...]]
    neurons: tuple[Neuron, ...]
    after: tuple[RecordedTensor, ...]
    candidates: tuple[Candidate, ...]
    layer_predictions: tuple[LayerPrediction, ...] = ()

    def attended_tokens(self, attention: str) -> tuple[Token, ...]:
        """The tokens that the attention part at this path attends to."""
        return self.source if attention.endswith("cross_attention") else self.tokens


def to_json(view: Summary | Derivation) -> dict[str, object]:
    """The same in JSON's values; a number that is not finite, such as a masked score, becomes null."""
    return {name: _value(each) for name, each in asdict(view).items()}


def _value(value: object) -> object:
    if isinstance(value, Mapping):
        return {name: _value(each) for name, each in value.items()}
    if isinstance(value, tuple | list):
        return [_value(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
