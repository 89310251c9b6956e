"""Choose from everything recorded what to show: one layer, one head, one token.

Which quantities there are, their formulas and their weights all come from the trace and its derivations, so a part
that brings its rules is shown without a word here.
"""

import re
from collections.abc import Iterable, Iterator, Mapping

from openbook.errors import OpenbookError
from openbook.explanation.attention_rows import attention_rows
from openbook.explanation.derivations import axes, derive
from openbook.explanation.readable import Tokenizer, readable
from openbook.explanation.reader import Operand, TensorPlace
from openbook.explanation.run import Explanation
from openbook.explanation.summary import Candidate, Layer, Neuron, Quantity, Source, Summary, Token
from openbook.trace import Record

NUMBERS_SHOWN = 6
NEURONS_SHOWN = 5
CANDIDATES_SHOWN = 10

_BLOCK = re.compile(r".*\bblocks\.(\d+)\.")


def summarise(
    explanation: Explanation,
    tokenizer: Tokenizer,
    *,
    layer: int | None = None,
    head: int | None = None,
    token: int | None = None,
    places: Mapping[str, TensorPlace] | None = None,
) -> Summary:
    """Choose what to show of the first row of a traced batch.

    Args:
        explanation: the traced run.
        tokenizer: spells the tokens.
        layer: the block to open; the first when None.
        head: the attention head to show; the first when None.
        token: the place of the token to follow; the last when None.
        places: where each tensor lies in the model file.

    Raises:
        OpenbookError: layer, head or token is out of range; names the range.
    """
    records = list(explanation.trace.values())
    blocks: dict[int, list[Record]] = {}
    for record in records:
        if match := _BLOCK.match(record.path):
            blocks.setdefault(int(match[1]), []).append(record)
    layer = _within("layer", layer, len(blocks), default=0)
    block = blocks[layer]
    weights = [record for record in block if record.name == "weights"]
    heads = weights[0].value.shape[1]
    length = explanation.tokens.shape[1]
    head = _within("head", head, heads, default=0)
    token = _within("token", token, length, default=length - 1)
    chooser = _Chooser(explanation, token, head, heads, places or {})
    first, last = records.index(blocks[0][0]), records.index(blocks[len(blocks) - 1][-1])
    neurons = list(_neurons(block, token))
    return Summary(
        layer=layer,
        head=head,
        token=token,
        heads=heads,
        vocabulary=explanation.logits.shape[-1],
        neuron_count=len(neurons),
        tokens=tuple(_tokens(explanation, tokenizer)),
        before=tuple(chooser.quantities(records[:first])),
        layers=tuple(chooser.layer(number, each) for number, each in blocks.items()),
        detail=tuple(chooser.quantities(block)),
        attention={each.module: attention_rows(explanation, each.module, head, token) for each in weights},
        neurons=tuple(sorted(neurons, key=lambda neuron: -abs(neuron.values["hidden"]))[:NEURONS_SHOWN]),
        after=tuple(chooser.quantities(records[last + 1 :])),
        candidates=tuple(_candidates(explanation, tokenizer)),
    )


def _within(name: str, given: int | None, count: int, default: int) -> int:
    chosen = default if given is None else given
    if not 0 <= chosen < count:
        raise OpenbookError(f"--{name} {chosen}: there are {count:,} here, numbered 0 to {count - 1:,}")
    return chosen


def _tokens(explanation: Explanation, tokenizer: Tokenizer) -> Iterator[Token]:
    positions = explanation.trace["positions"].value[0].tolist()
    for place, (token, position) in enumerate(zip(explanation.tokens[0].tolist(), positions, strict=True)):
        yield Token(place, position, token, readable(tokenizer, token))


def _candidates(explanation: Explanation, tokenizer: Tokenizer) -> Iterator[Candidate]:
    probabilities = explanation.probabilities[0]
    most = probabilities.topk(min(CANDIDATES_SHOWN, len(probabilities)))
    for probability, token in zip(most.values.tolist(), most.indices.tolist(), strict=True):
        logit = explanation.logits[0, token].item()
        yield Candidate(token, readable(tokenizer, token), logit, probability)


def _neurons(block: Iterable[Record], token: int) -> Iterator[Neuron]:
    columns: dict[str, list[float]] = {}
    hidden = next(record for record in block if record.name == "hidden")
    for record in block:
        if record.module == hidden.module and record.value.shape == hidden.value.shape:
            columns[record.name] = (
                record.value[0, token].flatten().tolist()
            )  # of all chosen experts, where there are any
    for number in range(len(columns["hidden"])):
        yield Neuron(number, {name: values[number] for name, values in columns.items()})


class _Chooser:
    """Takes the numbers of one head and one token out of each quantity."""

    def __init__(
        self, explanation: Explanation, token: int, head: int, heads: int, places: Mapping[str, TensorPlace]
    ) -> None:
        self.model, self.trace = explanation.model, explanation.trace
        self.token, self.head, self.heads, self.places = token, head, heads, places

    def quantities(self, records: Iterable[Record]) -> Iterator[Quantity]:
        """Each quantity that belongs to tokens: not the prompt itself, nor what is only about the last token."""
        for record in records:
            letters = axes(self.model, self.trace, record.path)
            if len(letters) > 2:
                yield self._quantity(record, letters)

    def _quantity(self, record: Record, letters: tuple[str, ...]) -> Quantity:
        shape = tuple(record.value.shape)
        chosen = tuple(self._along(letter, size) for letter, size in zip(letters[:-1], shape[:-1], strict=True))
        derivation = derive(self.model, self.trace, record.path, (*chosen, 0), self.places)
        return Quantity(
            path=record.path,
            shape=shape,
            axes=letters,
            chosen=chosen,
            meaning=derivation.meaning.partition("\n")[0],
            formula=derivation.formula,
            sources=tuple(dict.fromkeys(map(self._source, derivation.operands))),
            numbers=tuple(record.value[chosen][:NUMBERS_SHOWN].tolist()),
            length=shape[-1],
        )

    def _along(self, letter: str, size: int) -> int:
        if letter == "h":
            return self.head * size // self.heads  # keys and values have a head for each group only
        # Positions may stand once for the whole batch, so an axis can be shorter than what its letter counts.
        return min(self.token, size - 1) if letter in ("t", "s") else 0

    def _source(self, operand: Operand) -> Source:
        name = operand.symbols.partition("[")[0]
        if operand.kind == "constant":
            return Source(name, operand.kind, operand.source, value=operand.numbers[0].value)
        if operand.kind == "weight":
            place = self.places.get(operand.source)
            shape = tuple(self.model.get_parameter(operand.source).shape)
            return Source(name, operand.kind, operand.source, shape, None if place is None else place.offset)
        return Source(name, operand.kind, operand.source)

    def layer(self, number: int, block: list[Record]) -> Layer:
        """One block at a glance."""
        weights = next(record.value for record in block if record.name == "weights")
        row = weights[0, self.head, self.token].abs() if self.head < weights.shape[1] else None
        residuals = [record for record in block if record.name == "residual"]
        adds = {}
        for record in residuals:
            added = self.trace.inputs[f"{record.module}.dropout"][0]
            assert added is not None
            adds[_sublayer(record.module)] = self.trace[added].value[0, self.token].norm().item()
        return Layer(
            number=number,
            looks_at=None if row is None else int(row.argmax()),
            weight=None if row is None else row.max().item(),
            adds=adds,
            length=block[-1].value[0, self.token].norm().item(),
        )


def _sublayer(residual: str) -> str:
    """The sublayer that the residual at this path belongs to."""
    return residual.rpartition(".")[2].removesuffix("_residual").replace("_", "-")
