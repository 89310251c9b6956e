"""What a traced run has for one token and one head. Only this file knows which numbers those are."""

from collections.abc import Iterable, Iterator, Mapping

from openbook.explanation.derivations import axes, derive
from openbook.explanation.reader import Operand, TensorOffset
from openbook.explanation.run import Explanation
from openbook.explanation.views.attention_rows import AttentionRow, attention_rows
from openbook.explanation.views.summary import Attended, Layer, Neuron, Origin, RecordedTensor
from openbook.trace import Record

NUMBERS_SHOWN = 6


class TokenView:
    """Takes the numbers of one token and one head out of what was recorded; of a batch, its first row."""

    def __init__(self, explanation: Explanation, token: int, head: int, offsets: Mapping[str, TensorOffset]) -> None:
        self.explanation, self.token, self.head, self.offsets = explanation, token, head, offsets
        self.model, self.trace = explanation.model, explanation.trace

    def tensors(self, records: Iterable[Record]) -> Iterator[RecordedTensor]:
        """Those that have numbers for each token: neither the prompt itself nor what follows from the last token."""
        for record in records:
            letters = axes(self.model, self.trace, record.path)
            if len(letters) > 2:
                yield self._tensor(record, letters)

    def layer(self, number: int, block: list[Record]) -> Layer:
        """One block at a glance."""
        added_length = {}
        for record in block:
            if record.name == "residual":
                added = self.trace.inputs[f"{record.module}.dropout"][0]
                assert added is not None
                added_length[_sublayer(record.module)] = self._length(self.trace[added])
        return Layer(
            number=number,
            attends_to={_sublayer(each.module): self._attended(each) for each in block if each.name == "weights"},
            added_length=added_length,
            residual_length=self._length(block[-1]),
        )

    def attention(self, block: Iterable[Record]) -> dict[str, tuple[AttentionRow, ...]]:
        """The rows of each attention part of a block."""
        parts = [record.module for record in block if record.name == "weights"]
        return {path: attention_rows(self.explanation, path, self.head, self.token) for path in parts}

    def neurons(self, block: list[Record]) -> list[Neuron]:
        """All neurons of a block, of each chosen expert where there are experts, the most active first."""
        hidden = next(record for record in block if record.name == "hidden")
        columns = {
            record.name: record.value[0, self.token].flatten().tolist()
            for record in block
            if record.module == hidden.module and record.value.shape == hidden.value.shape
        }
        neurons = (
            Neuron(number, {name: values[number] for name, values in columns.items()})
            for number in range(len(columns["hidden"]))
        )
        return sorted(neurons, key=lambda neuron: -abs(neuron.values["hidden"]))

    def _tensor(self, record: Record, letters: tuple[str, ...]) -> RecordedTensor:
        shape = tuple(record.value.shape)
        index = tuple(
            self._along(letter, size, record.module) for letter, size in zip(letters[:-1], shape[:-1], strict=True)
        )
        derivation = derive(self.model, self.trace, record.path, (*index, 0), self.offsets)
        return RecordedTensor(
            path=record.path,
            shape=shape,
            axes=letters,
            index=index,
            meaning=derivation.meaning.partition("\n")[0],
            formula=derivation.formula,
            origins=tuple(dict.fromkeys(map(self._origin, derivation.operands))),
            numbers=tuple(record.value[index][:NUMBERS_SHOWN].tolist()),
            length=shape[-1],
        )

    def _along(self, letter: str, size: int, module: str) -> int:
        """The index along an axis that belongs to this head and token."""
        weights = self._weights_around(module)
        if letter == "h":  # keys and values have a head for each group only
            return self.head if weights is None else self.head * size // weights.value.shape[1]
        if letter == "s" and weights is not None and ".cross_attention" in module:
            attended = self._attended(weights)
            return 0 if attended is None else attended.index
        # Positions may be recorded once for the whole batch, so an axis can be shorter than what its letter counts.
        return min(self.token, size - 1) if letter in ("t", "s") else 0

    def _weights_around(self, module: str) -> Record | None:
        """The weights of the attention part that this module is, or is in."""
        while module and f"{module}.weights" not in self.trace:
            module = module.rpartition(".")[0]
        return self.trace.records.get(f"{module}.weights")

    def _attended(self, weights: Record) -> Attended | None:
        """The token with the largest weight; None without such a head."""
        if self.head >= weights.value.shape[1]:
            return None
        row = weights.value[0, self.head, self.token].abs()
        index = int(row.argmax())
        return Attended(index, row[index].item())

    def _origin(self, operand: Operand) -> Origin:
        name = operand.symbols.partition("[")[0]
        if operand.kind == "constant":
            return Origin(name, operand.kind, operand.source, value=operand.numbers[0].value)
        if operand.kind == "weight":
            tensor = self.offsets.get(operand.source)
            shape = tuple(self.model.get_parameter(operand.source).shape)
            return Origin(name, operand.kind, operand.source, shape, None if tensor is None else tensor.offset)
        return Origin(name, operand.kind, operand.source)

    def _length(self, record: Record) -> float:
        return record.value[0, self.token].norm().item()


def _sublayer(residual: str) -> str:
    """The sublayer of the residual, or the attention, at this path."""
    return residual.rpartition(".")[2].removesuffix("_residual").replace("_", "-")
