"""Merge an adapter into its base model: one model file, written tensor by tensor, that needs neither of the two."""

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from openbook.errors import OpenbookError
from openbook.model_file.adapter import Adapter, Update, base_of, files_of_model, read_adapter, updates_of
from openbook.model_file.dtypes import IMPORT_DTYPES, header_dtype
from openbook.model_file.file import map_tensors, specs_writer
from openbook.model_file.header import ITEM_BYTES, TensorSpecs
from openbook.model_file.opening import ModelFile, error_context, open_model_file
from openbook.model_file.output_path import check_output_file
from openbook.model_file.quantization import KINDS, pack
from openbook.model_file.quantized_specs import SUFFIXES, layout_of, stored_specs
from openbook.model_file.quantized_weight import QuantizedWeight
from openbook.model_file.tensor_shapes import expected_shapes
from openbook.model_file.torch_dtypes import DTYPES, narrowed
from openbook.progress import Track, silent


@dataclass(frozen=True)
class OpenedAdapter:
    """An adapter and its base, checked but not read.

    Attributes:
        adapter: what the adapter says.
        path: the file of its base.
        base: that file, opened.
        updates: the update of each weight that changes.
    """

    adapter: Adapter
    path: Path
    base: ModelFile
    updates: dict[str, Update]

    def described(self) -> ModelFile:
        """The base with the adapter's training record."""
        return replace(self.base, metadata=replace(self.base.metadata, training=self.adapter.training))


@dataclass
class Merged:
    """What merging did.

    Attributes:
        dtype: of the model file: float32, float16, bfloat16, int8 or int4.
        matrices: how many were changed.
        widened: how many of them were quantized and are float32 now.
        lost: the size of what rounding took from the updates, as a share of the updates themselves (0 to 1 and more).
    """

    dtype: str
    matrices: int
    widened: int = 0
    lost: float = 0.0


def open_adapter(path: str | os.PathLike[str]) -> OpenedAdapter | None:
    """An adapter with its base; None where the file is something else.

    Raises:
        OpenbookError: the adapter is damaged, or its base is not beside it.
    """
    path, found = Path(path), read_adapter(path)
    if found is None:
        return None
    adapter, changes = found
    with error_context(path):
        base = base_of(path, adapter)
    opened = open_model_file(base)
    with error_context(path):
        updates = updates_of(adapter, changes, expected_shapes(opened.metadata.architecture))
    return OpenedAdapter(adapter, base, opened, updates)


def merge_model(
    path: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    dtype: str | None = None,
    overwrite: bool = False,
    track: Track = silent,
) -> Merged:
    """Write an adapter and its base as one model file, whole or not at all.

    Memory holds one matrix at a time or, of many experts, one expert's.

    Args:
        path: the adapter, beside its base.
        output: the model file.
        dtype: float32, float16, bfloat16, int8 or int4; None keeps the base's. Of a quantized base the matrices that
            change are then float32, since whole numbers would round most of a small update away.
        overwrite: replace an existing output, but never the adapter or its base.
        track: shows progress, in bytes.

    Raises:
        OpenbookError: it is no adapter, a number does not fit in the dtype, or a file cannot be read or written.
    """
    path, output = Path(path), Path(output)
    opened = open_adapter(path)
    if opened is None:
        open_model_file(path)  # says what is wrong, if anything is
        raise OpenbookError(f"{path}: is a whole model, so there is nothing to merge; give an adapter")
    check_output_file(output, files_of_model(path), overwrite)
    specs = _specs(opened, None if dtype is None else header_dtype(dtype, IMPORT_DTYPES))
    layout = layout_of({kind for kind, _ in specs.values()})
    merged = Merged(next(name for name, kind in IMPORT_DTYPES.items() if kind == layout), 0)
    metadata = opened.described().metadata
    tensors = pack(map_tensors(opened.base.header, opened.base.data))
    size = sum(ITEM_BYTES[kind] * math.prod(shape) for kind, shape in specs.values())
    with (
        error_context(path),
        track("Merging", size) as advance,
        specs_writer(output, metadata, specs, advance) as writer,
    ):
        rounding = _Rounding()
        for name in expected_shapes(metadata.architecture):
            weight, kind, update = tensors[name], specs[name][0], opened.updates.get(name)
            if update is None:
                writer.write(name, _converted(name, weight, kind))
                continue
            merged.matrices += 1
            merged.widened += isinstance(weight, QuantizedWeight) and kind not in KINDS
            for part, change in _parts(weight, update):
                writer.write(name, rounding.sum_of(part, change, kind))
        merged.lost = rounding.lost
    return merged


def _specs(opened: OpenedAdapter, wanted: str | None) -> TensorSpecs:
    """What the merged file stores for each tensor."""
    shapes = expected_shapes(opened.base.metadata.architecture)
    if wanted:
        return stored_specs(shapes, wanted)
    stored = {name: (info.dtype, info.shape) for name, info in opened.base.header.tensors.items()}
    specs: TensorSpecs = {}
    for name, shape in shapes.items():
        suffixes = SUFFIXES.get(stored[name][0], ())
        if suffixes and name in opened.updates:
            specs[name] = ("F32", shape)
        else:
            specs |= {name + suffix: stored[name + suffix] for suffix in ("", *suffixes)}
    return specs


def _converted(name: str, weight: Tensor, kind: str) -> Tensor:
    """A weight that does not change, as the file stores it."""
    if kind in KINDS:
        return weight
    return narrowed(name, weight.dequantize() if isinstance(weight, QuantizedWeight) else weight, DTYPES[kind])


def _parts(weight: Tensor, update: Update) -> Iterator[tuple[Tensor, Update]]:
    """A matrix and its update, or each expert's."""
    if weight.ndim == 2:
        yield weight, update
        return
    for expert, part in enumerate(weight.unbind()):
        yield part[None], update.of_expert(expert)


class _Rounding:
    """Adds updates to weights, and keeps count of what the dtype rounds away."""

    def __init__(self) -> None:
        self._lost, self._whole = 0.0, 0.0

    def sum_of(self, weight: Tensor, update: Update, kind: str) -> Tensor:
        """weight + update, as the file stores it."""
        change = update.product()
        exact = weight.float() + change
        stored = KINDS[kind][1](exact) if kind in KINDS else narrowed(update.name, exact, DTYPES[kind])
        self._whole += float(change.square().sum())
        if kind != "F32":
            self._lost += float((stored.float() - exact).square().sum())
        return stored

    @property
    def lost(self) -> float:
        """√(Σ rounding² / Σ update²)."""
        return math.sqrt(self._lost / self._whole) if self._whole else 0.0
