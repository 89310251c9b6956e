"""Choose from everything recorded what to show: one layer, one head, one token.

Which quantities there are, their formulas and their weights all come from the trace and its derivations, so a part
that brings its rules is shown without a word here.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping

from openbook.errors import OpenbookError
from openbook.explanation.attention_rows import attention_rows
from openbook.explanation.derivations import axes, derive
from openbook.explanation.lens import read_layers
from openbook.explanation.reader import Operand, TensorOffset
from openbook.explanation.run import Explanation
from openbook.explanation.summary import Candidate, Layer, Look, Neuron, Quantity, Said, Source, Summary, Token
from openbook.explanation.token_display import Tokenizer, readable
from openbook.trace import Record

NUMBERS_SHOWN = 6
NEURONS_SHOWN = 5
CANDIDATES_SHOWN = 10

_BLOCK = re.compile(r"(encoder|decoder)\.blocks\.(\d+)\.")


def summarise(
    explanation: Explanation,
    tokenizer: Tokenizer,
    *,
    source_tokenizer: Tokenizer | None = None,
    encoder: bool = False,
    layer: int | None = None,
    head: int | None = None,
    token: int | None = None,
    places: Mapping[str, TensorOffset] | None = None,
    template: Collection[int] = (),
) -> Summary:
    """Choose what to show of the first row of a traced batch.

    Args:
        explanation: the traced run.
        tokenizer: spells the tokens.
        source_tokenizer: spells those of the source, where that takes another one.
        encoder: show how the source is read instead of how the target is written.
        layer: the block to open; the first when None.
        head: the attention head to show; the first when None.
        token: the place of the token to follow; the last when None.
        places: where each tensor lies in the model file.
        template: places of the prompt's tokens that a chat template wrote.

    Raises:
        OpenbookError: layer, head or token is out of range; names the range. The model has no encoder to show.
    """
    if encoder and explanation.source is None:
        raise OpenbookError("--encoder: this model is decoder-only, so there is none to show")
    source = tuple(_tokens(explanation, source_tokenizer or tokenizer, "source"))
    tokens = source if encoder else tuple(_tokens(explanation, tokenizer, "tokens", template))
    records = _side(explanation, encoder)
    blocks: dict[int, list[Record]] = {}
    for record in records:
        if match := _BLOCK.match(record.path):
            blocks.setdefault(int(match[2]), []).append(record)
    layer = _within("layer", layer, len(blocks), default=0)
    block = blocks[layer]
    weights = [record for record in block if record.name == "weights"]
    head = _within("head", head, min(each.value.shape[1] for each in weights), default=0)
    token = _within("token", token, len(tokens), default=len(tokens) - 1)
    chooser = _Chooser(explanation, token, head, places or {})
    first, last = records.index(blocks[0][0]), records.index(blocks[len(blocks) - 1][-1])
    neurons = list(_neurons(block, token))
    return Summary(
        layer=layer,
        head=head,
        token=token,
        heads=weights[0].value.shape[1],
        vocab_size=explanation.logits.shape[-1],
        neuron_count=len(neurons),
        stack="encoder" if encoder else "decoder",
        source=source,
        tokens=tokens,
        before=tuple(chooser.quantities(records[:first])),
        layers=tuple(chooser.layer(number, each) for number, each in blocks.items()),
        detail=tuple(chooser.quantities(block)),
        attention={each.module: attention_rows(explanation, each.module, head, token) for each in weights},
        neurons=tuple(sorted(neurons, key=lambda neuron: -abs(neuron.values["hidden"]))[:NEURONS_SHOWN]),
        after=tuple(chooser.quantities(records[last + 1 :])),
        candidates=() if encoder else tuple(_candidates(explanation, tokenizer)),
        said=() if encoder else tuple(_said(explanation, tokenizer, token)),
    )


def _side(explanation: Explanation, encoder: bool) -> list[Record]:
    """What was recorded while the source was read, or after that."""
    records = list(explanation.trace.values())
    read = [number for number, record in enumerate(records) if record.path.startswith("encoder.")]
    border = read[-1] + 1 if read else 0
    return records[:border] if encoder else records[border:]


def _within(name: str, given: int | None, count: int, default: int) -> int:
    chosen = default if given is None else given
    if not 0 <= chosen < count:
        raise OpenbookError(f"--{name} {chosen}: there are {count:,} here, numbered 0 to {count - 1:,}")
    return chosen


def _tokens(
    explanation: Explanation, tokenizer: Tokenizer, name: str, template: Collection[int] = ()
) -> Iterator[Token]:
    """Those recorded under this name, "source" or "tokens"; none where there is no source."""
    trace = explanation.trace
    if name not in trace:
        return
    positions = trace["positions" if name == "tokens" else "source_positions"].value[0].tolist()
    for place, (token, position) in enumerate(zip(trace[name].value[0].tolist(), positions, strict=True)):
        yield Token(place, position, token, readable(tokenizer, token), place in template)


def _candidates(explanation: Explanation, tokenizer: Tokenizer) -> Iterator[Candidate]:
    probabilities = explanation.probabilities[0]
    most = probabilities.topk(min(CANDIDATES_SHOWN, len(probabilities)))
    for probability, token in zip(most.values.tolist(), most.indices.tolist(), strict=True):
        logit = explanation.logits[0, token].item()
        yield Candidate(token, readable(tokenizer, token), logit, probability)


def _said(explanation: Explanation, tokenizer: Tokenizer, token: int) -> Iterator[Said]:
    for reading in read_layers(explanation, token):
        text = readable(tokenizer, reading.token)
        yield Said(reading.layer, reading.token, text, reading.probability, reading.answer, reading.rank)


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

    def __init__(self, explanation: Explanation, token: int, head: int, places: Mapping[str, TensorOffset]) -> None:
        self.model, self.trace = explanation.model, explanation.trace
        self.token, self.head, self.places = token, head, places

    def quantities(self, records: Iterable[Record]) -> Iterator[Quantity]:
        """Each quantity that belongs to tokens: not the prompt itself, nor what is only about the last token."""
        for record in records:
            letters = axes(self.model, self.trace, record.path)
            if len(letters) > 2:
                yield self._quantity(record, letters)

    def _quantity(self, record: Record, letters: tuple[str, ...]) -> Quantity:
        shape = tuple(record.value.shape)
        chosen = tuple(
            self._along(letter, size, record.module) for letter, size in zip(letters[:-1], shape[:-1], strict=True)
        )
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

    def _along(self, letter: str, size: int, module: str) -> int:
        weights = self._weights_around(module)
        if letter == "h":  # keys and values have a head for each group only
            return self.head if weights is None else self.head * size // weights.value.shape[1]
        if letter == "s" and weights is not None and ".cross_attention" in module:
            return self._most(weights) or 0  # of the source, the token that is looked at
        # Positions may stand once for the whole batch, so an axis can be shorter than what its letter counts.
        return min(self.token, size - 1) if letter in ("t", "s") else 0

    def _weights_around(self, module: str) -> Record | None:
        """Those of the attention part that this module is, or is in."""
        while module and f"{module}.weights" not in self.trace:
            module = module.rpartition(".")[0]
        return self.trace.get(f"{module}.weights")

    def _most(self, weights: Record) -> int | None:
        """The place that weighs most for the chosen head and token; None without such a head."""
        if self.head >= weights.value.shape[1]:
            return None
        return int(weights.value[0, self.head, self.token].abs().argmax())

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
        adds = {}
        for record in block:
            if record.name == "residual":
                added = self.trace.inputs[f"{record.module}.dropout"][0]
                assert added is not None
                adds[_sublayer(record.module)] = self.trace[added].value[0, self.token].norm().item()
        return Layer(
            number=number,
            looks_at={_sublayer(each.module): self._look(each) for each in block if each.name == "weights"},
            adds=adds,
            length=block[-1].value[0, self.token].norm().item(),
        )

    def _look(self, weights: Record) -> Look | None:
        place = self._most(weights)
        return None if place is None else Look(place, abs(weights.value[0, self.head, self.token, place].item()))


def _sublayer(residual: str) -> str:
    """The sublayer that the residual at this path belongs to."""
    return residual.rpartition(".")[2].removesuffix("_residual").replace("_", "-")
