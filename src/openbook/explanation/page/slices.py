"""Parts of recorded tensors and of weights, as a safetensors file of float32: what a page looks at, and no more."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from openbook.errors import OpenbookError
from openbook.explanation.traced_generation import TracedRun
from openbook.model_file.header import write_header

MAX_SLICES = 4096
MAX_BYTES = 2**28
"""Of one answer; a page asks for less at a time."""

Index = int | tuple[int, int] | None
"""Along one axis: one number (the axis is dropped), a range, or everything."""


def read_slices(run: TracedRun, wanted: Sequence[Mapping[str, Any]]) -> bytes:
    """The slices as a safetensors file, whose tensors are named "0", "1", … in the order asked.

    Args:
        run: whose numbers they are.
        wanted: each {"step", "path", "index"} for a recorded quantity, {"weight", "index"} for a weight, or
            {"weight", "pool": [rows, columns]} for the mean, the least and the largest number of each block of a
            large matrix: "0.mean", "0.min", "0.max". An index has an entry for each axis, see `Index`; without one it
            is everything.

    Raises:
        OpenbookError: there is no such tensor, an index is out of range, or it is too much at once.
    """
    if len(wanted) > MAX_SLICES:
        raise OpenbookError(f"{len(wanted):,} slices at once; ask for at most {MAX_SLICES:,}")
    tensors: dict[str, Tensor] = {}
    size = 0
    for number, each in enumerate(wanted):
        for suffix, tensor in _slice(run, each):
            tensors[f"{number}{suffix}"] = tensor
            size += 4 * tensor.numel()
        if size > MAX_BYTES:
            raise OpenbookError(f"more than {MAX_BYTES // 2**20} MB at once; ask for a smaller part")
    return as_safetensors(tensors)


def as_safetensors(tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> bytes:
    """Tensors as the bytes of a safetensors file of float32."""
    header = write_header(metadata or {}, {name: ("F32", tuple(each.shape)) for name, each in tensors.items()})
    return header + b"".join(
        each.detach().to("cpu", torch.float32).contiguous().numpy().tobytes() for each in tensors.values()
    )


def recorded_tensor(run: TracedRun, step: int, path: str) -> Tensor:
    """A recorded quantity of a step.

    Raises:
        OpenbookError: there is no such step, or nothing is recorded at the path.
    """
    if not 0 <= step < len(run.steps):
        raise OpenbookError(f"there is no step {step}; this run has steps 0 to {len(run.steps) - 1}")
    recorded = run.trace(step)
    if path not in recorded:
        raise OpenbookError(f'nothing is recorded under "{path[:100]}" in step {step}')
    return recorded[path].value


def weight_tensor(run: TracedRun, name: str) -> Tensor:
    """A weight of the model.

    Raises:
        OpenbookError: there is no such tensor.
    """
    try:
        return run.model.get_parameter(name).detach()
    except AttributeError:
        raise OpenbookError(f'the model has no tensor "{name[:100]}"') from None


def _slice(run: TracedRun, wanted: Mapping[str, Any]) -> list[tuple[str, Tensor]]:
    weight, index, pool = wanted.get("weight"), wanted.get("index"), wanted.get("pool")
    if weight is None:
        return [("", select(recorded_tensor(run, _whole(wanted.get("step", 0)), str(wanted.get("path"))), index))]
    tensor = weight_tensor(run, str(weight))
    if pool is None:
        return [("", select(tensor, index))]
    if not isinstance(pool, list | tuple) or len(pool) != 2:
        raise OpenbookError("pool: give two numbers, rows and columns")
    return list(pooled(tensor, _whole(pool[0]), _whole(pool[1])).items())


def select(tensor: Tensor, index: Any) -> Tensor:
    """The part of a tensor at an index as JSON has it, see `Index`.

    Raises:
        OpenbookError: the index does not fit.
    """
    if index is None:
        return tensor
    shape = " × ".join(map(str, tensor.shape))
    if not isinstance(index, list | tuple) or len(index) != tensor.dim():
        raise OpenbookError(f"index: give one entry for each of the {tensor.dim()} axes of {shape}")
    chosen: list[int | slice] = []
    for length, each in zip(tensor.shape, index, strict=True):
        if each is None:
            chosen.append(slice(None))
        elif isinstance(each, list | tuple) and len(each) == 2:
            start, stop = map(_whole, each)
            if not 0 <= start <= stop <= length:
                raise OpenbookError(f"index: the range {start} to {stop} is not within 0 to {length}")
            chosen.append(slice(start, stop))
        else:
            at = _whole(each)
            if not 0 <= at < length:
                raise OpenbookError(f"index: {at} is not from 0 to {length - 1}")
            chosen.append(at)
    return tensor[tuple(chosen)]


def _whole(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise OpenbookError(f"{str(value)[:40]}: give a whole number")
    return value


def pooled(tensor: Tensor, rows: int, columns: int) -> dict[str, Tensor]:
    """Mean, minimum and maximum of the blocks into which a matrix is divided, at most rows × columns of them.

    A tensor of more axes is taken as a matrix of its last one. The last block of a row or column may be smaller.
    """
    if not (1 <= rows <= 4096 and 1 <= columns <= 4096):
        raise OpenbookError("pool: give numbers from 1 to 4096")
    matrix = tensor.reshape(-1, tensor.shape[-1]).float()
    down, across = (max(1, math.ceil(n / most)) for n, most in zip(matrix.shape, (rows, columns), strict=True))
    pad = (0, -matrix.shape[1] % across, 0, -matrix.shape[0] % down)

    def blocks(fill: float) -> Tensor:
        padded = torch.nn.functional.pad(matrix, pad, value=fill)
        rows, columns = padded.shape
        return padded.reshape(rows // down, down, columns // across, across).transpose(1, 2).flatten(2)

    means = blocks(torch.nan).nanmean(-1)
    return {".mean": means, ".min": blocks(torch.inf).amin(-1), ".max": blocks(-torch.inf).amax(-1)}
