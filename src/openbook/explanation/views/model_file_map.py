"""The tensors of the model and of its file: where each lies, and which numbers of a run read it."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from openbook.explanation.model_source import ModelSource
from openbook.transformer.transformer import Transformer

BINS = 64


@dataclass(frozen=True)
class FileTensor:
    """One tensor.

    Attributes:
        name: in the file.
        part: the module that it belongs to.
        stack, layer: where in the model; None outside.
        shape, dtype: as the file has them.
        bytes: that it takes there.
        offset: of its first byte; None where the model lies in no file, or in an adapter.
        used_by: paths of the recorded quantities that read it.
    """

    name: str
    part: str
    stack: str | None
    layer: int | None
    shape: tuple[int, ...]
    dtype: str
    bytes: int
    offset: int | None
    used_by: tuple[str, ...]


def file_tensors(model: Transformer, source: ModelSource, step: Mapping[str, Any]) -> Iterator[FileTensor]:
    """All tensors in the order in which the model uses them.

    Args:
        model: whose they are.
        source: knows the file.
        step: the quantities of a step, see `page.quantities`.
    """
    used: defaultdict[str, list[str]] = defaultdict(list)
    for quantity in step["quantities"]:
        for operand in quantity["operands"]:
            if operand["kind"] == "weight" and quantity["path"] not in used[operand["source"]]:
                used[operand["source"]].append(quantity["path"])
    for name, parameter in model.named_parameters():
        pieces = name.split(".")
        in_block = len(pieces) > 3 and pieces[1] == "blocks"
        place, entry = source.offsets.get(name), source.tensors.get(name, {})
        size = parameter.numel() * (place.itemsize if place is not None else parameter.element_size())
        yield FileTensor(
            name=name,
            part=name.rpartition(".")[0],
            stack=pieces[0] if pieces[0] in ("encoder", "decoder") else None,
            layer=int(pieces[2]) if in_block else None,
            shape=tuple(parameter.shape),
            dtype=str(parameter.dtype).removeprefix("torch."),
            bytes=int(entry.get("bytes", size)),
            offset=None if place is None else place.offset,
            used_by=tuple(used[name]),
        )


@torch.no_grad()
def tensor_statistics(tensor: torch.Tensor) -> dict[str, Any]:
    """The least and the largest number of a tensor, mean, standard deviation, zeros, and a histogram."""
    numbers = tensor.detach().float().flatten()
    finite = numbers[numbers.isfinite()]
    low, high = (finite.min().item(), finite.max().item()) if finite.numel() else (0.0, 0.0)
    counts = torch.histc(finite, BINS, low, high) if high > low else torch.tensor([float(finite.numel())])
    edges = torch.linspace(low, high, len(counts) + 1).tolist()
    return {
        "min": low,
        "max": high,
        "mean": finite.mean().item() if finite.numel() else 0.0,
        "std": finite.std(correction=0).item() if finite.numel() else 0.0,
        "zeros": int((numbers == 0).sum()),
        "not_finite": numbers.numel() - finite.numel(),
        "histogram": {"edges": edges, "counts": [int(each) for each in counts.tolist()]},
    }
