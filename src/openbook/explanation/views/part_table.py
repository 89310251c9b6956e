"""The run as a table: layer · part · what goes in · what comes out · which tensors of the model file it uses."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from openbook.trace import Trace
from openbook.transformer.transformer import Transformer

NUMBERS = 4
# The notes that end a part, and what the part does, in a few words.
_PARTS = {
    "self_attention.output": ("self-attention", "mixes the tokens: each takes in those that it attends to"),
    "cross_attention.output": ("cross-attention", "takes in the source: each token attends to its tokens"),
    "feed_forward.output": ("feed-forward", "works on each token alone, with its neurons"),
}


@dataclass(frozen=True)
class PartRow:
    """One part of the model.

    Attributes:
        stack, layer: where it is; None outside.
        part: its name.
        what: what it does, in a few words.
        inside, outside: paths of what goes in and what comes out, None where nothing is recorded.
        inside_shape, outside_shape: of these, without the batch.
        inside_numbers, outside_numbers: the first numbers of the followed token.
        tensors: names of the tensors that it uses.
    """

    stack: str | None
    layer: int | None
    part: str
    what: str
    inside: str | None
    outside: str
    inside_shape: tuple[int, ...]
    outside_shape: tuple[int, ...]
    inside_numbers: tuple[float, ...]
    outside_numbers: tuple[float, ...]
    tensors: tuple[str, ...]


def part_table(model: Transformer, trace: Trace, step: Mapping[str, Any], row: int) -> Iterator[PartRow]:
    """The parts in the order in which they ran.

    Args:
        model: that was traced.
        trace: of a pass.
        step: its quantities, see `page.quantities`.
        row: the token whose numbers are shown; of an encoder the token at the same place, or its last.
    """
    weights: dict[str, list[str]] = {}
    for quantity in step["quantities"]:
        for operand in quantity["operands"]:
            if operand["kind"] == "weight":
                found = weights.setdefault(quantity["module"], [])
                found += [operand["source"]] * (operand["source"] not in found)
    for path in trace:
        named = _named(model, path)
        if named is None:
            continue
        part, what = named
        module = path.rpartition(".")[0]
        inputs = trace.inputs.get(module) or (None,)
        bucket = f"{module}.bucket" if path.endswith(".bias") else ""
        inside = bucket if bucket in trace else inputs[0]
        alone = part in ("position", "residual")  # their module holds other parts too
        inner = [name for name in weights if (name == module if alone else _is_within(name, module))]
        tensors = [each for name in inner for each in weights[name]]
        yield _row(trace, path, inside, part, what, tuple(dict.fromkeys(tensors)), row)


def _named(model: Transformer, path: str) -> tuple[str, str] | None:
    """The part that ends with this note, and what it does; None for notes inside a part."""
    if path == "token_embedding.output":
        return "token embedding", "each token id selects a row of a table"
    if path == "source_embedding.output":
        return "source embedding", "each token id of the source selects a row of a table"
    if path.endswith(".position_embedding"):
        return "position", "each position has a vector, which is added"
    if path.endswith(".bias"):
        return "position", "each distance of two tokens has a number for every head, added to their score"
    if path.endswith("embedding_norm.output"):
        return "embedding norm", "brings the vector to one size"
    if path == "to_logits.logits":
        return "logits", f"one number for each of the {model.architecture.vocab_size:,} tokens of the vocabulary"
    if path.endswith("final_norm.output"):
        return "final norm", "brings the vector to one size"
    pieces = path.split(".")
    if len(pieces) < 4 or pieces[1] != "blocks":
        return None
    inside = ".".join(pieces[3:])
    if inside.endswith("_residual.residual"):
        return "residual", "adds what the part gave to the token's vector"
    for place, words in (("before", "before"), ("after", "after"), ("outer", "after the sum")):
        if inside.endswith(f"_residual.{place}.output"):
            sublayer = pieces[3].removesuffix("_residual").replace("_", "-")
            return "norm", f"brings the vector to one size, {words} {sublayer}"
    return _PARTS.get(inside)


def _is_within(module: str, part: str) -> bool:
    return module == part or module.startswith(f"{part}.")


def _row(
    trace: Trace, path: str, inside: str | None, part: str, what: str, tensors: tuple[str, ...], row: int
) -> PartRow:
    pieces = path.split(".")
    in_stack, in_block = pieces[0] in ("encoder", "decoder"), len(pieces) > 3 and pieces[1] == "blocks"
    return PartRow(
        stack=pieces[0] if in_stack else None,
        layer=int(pieces[2]) if in_block else None,
        part=part,
        what=what,
        inside=inside,
        outside=path,
        inside_shape=() if inside is None else tuple(trace[inside].value.shape[1:]),
        outside_shape=tuple(trace[path].value.shape[1:]),
        inside_numbers=() if inside is None else _numbers(trace, inside, row),
        outside_numbers=_numbers(trace, path, row),
        tensors=tensors,
    )


def _numbers(trace: Trace, path: str, row: int) -> tuple[float, ...]:
    """The first numbers of one token; ids of tokens are one number."""
    value = trace[path].value[0]
    if value.dim() == 3:  # a number for each head: those of the first one
        value = value[0]
    one = value[min(row, len(value) - 1)]
    return tuple(one.flatten()[:NUMBERS].float().tolist())
