"""Everything that one step recorded: path, shape, axes, formula and operands of each quantity, in computed order."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from openbook.explanation.derivations import general_formula
from openbook.explanation.page.formula_table import FormulaOperand, FormulaTable
from openbook.trace import Record, Trace
from openbook.transformer.architecture import Architecture
from openbook.transformer.transformer import Transformer

_BLOCK = re.compile(r"(encoder|decoder)\.blocks\.(\d+)\.")


def quantities(model: Transformer, trace: Trace) -> dict[str, Any]:
    """The quantities of a pass and the table of their formulas.

    Layers that are alike have the same formulas, so the rules are evaluated for one of them only.
    """
    table, listed = FormulaTable(), []
    known: dict[tuple[object, ...], tuple[int, dict[str, _Described]]] = {}
    for block, records in _groups(trace):
        if block is None:
            listed += [_entry(record, _described(model, trace, record, table)) for record in records]
            continue
        stack, layer = block
        signature = _signature(model.architecture, trace, stack, layer, records)
        if signature not in known:
            described = {_inside(r.path): _described(model, trace, r, table) for r in records}
            known[signature] = layer, described
        first, described = known[signature]
        listed += [_entry(record, _shifted(described[_inside(record.path)], stack, first, layer)) for record in records]
    shapes = {name: list(each.shape) for name, each in model.named_parameters()}
    for each in listed:
        for operand in each["operands"]:
            if operand["kind"] == "weight":
                operand["shape"] = shapes[operand["source"]]
    return {"quantities": listed, "formulas": table.formulas}


_Described = tuple[tuple[str, ...], int, list[FormulaOperand]]


def _described(model: Transformer, trace: Trace, record: Record, table: FormulaTable) -> _Described:
    formula = general_formula(model, trace, record.path)
    number, operands = table.add(formula)
    return formula.letters, number, operands


def _entry(record: Record, described: _Described) -> dict[str, Any]:
    letters, number, operands = described
    block = _BLOCK.match(record.path)
    top = record.path.partition(".")[0]
    return {
        "path": record.path,
        "name": record.name,
        "module": record.module,
        "stack": top if top in ("encoder", "decoder") else None,
        "layer": int(block[2]) if block else None,
        "shape": list(record.value.shape),
        "axes": list(letters),
        "bytes": 4 * record.value.numel(),
        "formula": number,
        "operands": [
            {"name": each.name, "kind": each.kind, "source": each.source}
            | ({} if each.value is None else {"value": each.value})
            for each in operands
        ],
    }


def _groups(trace: Trace) -> Iterator[tuple[tuple[str, int] | None, list[Record]]]:
    """Records in order, those of one layer together."""
    group: list[Record] = []
    current: tuple[str, int] | None = None
    for record in trace.values():
        match = _BLOCK.match(record.path)
        block = (match[1], int(match[2])) if match else None
        if group and block != current:
            yield current, group
            group = []
        current = block
        group.append(record)
    if group:
        yield current, group


def _signature(
    architecture: Architecture, trace: Trace, stack: str, layer: int, records: list[Record]
) -> tuple[object, ...]:
    """Equal for layers whose formulas are the same: their parts, what they noted, and what their modules received."""
    prefix = f"{stack}.blocks.{layer}."
    inputs = tuple(
        (_inside(module), tuple(None if path is None else _relative(path, stack, layer) for path in paths))
        for module, paths in trace.inputs.items()
        if module.startswith(prefix)
    )
    made = tuple((_inside(record.path), tuple(record.value.shape)) for record in records)
    return stack, architecture.stacks[stack].blocks[layer], made, inputs


def _inside(path: str) -> str:
    return _BLOCK.sub("", path, count=1)


def _relative(path: str, stack: str, layer: int) -> str:
    match = _BLOCK.match(path)
    if match is None or match[1] != stack:
        return path
    return f"{int(match[2]) - layer}:{_inside(path)}"


def _shifted(described: _Described, stack: str, first: int, layer: int) -> _Described:
    """The same for another layer, whose operands lie as many layers away."""
    letters, number, operands = described
    if first == layer:
        return described
    return letters, number, [replace(each, source=_moved(each, stack, layer - first)) for each in operands]


def _moved(operand: FormulaOperand, stack: str, by: int) -> str:
    match = _BLOCK.match(operand.source) if operand.kind in ("recorded", "weight", "given") else None
    if match is None or match[1] != stack:
        return operand.source
    return f"{stack}.blocks.{int(match[2]) + by}.{_inside(operand.source)}"


def by_path(step: Mapping[str, Any]) -> dict[str, Any]:
    """The quantities of a step by their paths."""
    return {each["path"]: each for each in step["quantities"]}
