"""A model file in a family's form: the family of its shape, the config.json, the tensors by the family's names."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from openbook.errors import OpenbookError
from openbook.interop.huggingface.families.registry import FAMILIES
from openbook.interop.huggingface.family import Family
from openbook.interop.huggingface.fields import ConfigFields
from openbook.interop.huggingface.score_scale import query_factors, with_unscaled_scores
from openbook.interop.huggingface.tensor_mapping import Index, TensorMapping, full_shape, tensor_mappings
from openbook.interop.huggingface.weights import SafetensorsWeights
from openbook.model_file.adapter import Update
from openbook.model_file.dtypes import DTYPE_NAMES
from openbook.model_file.header import Shape
from openbook.model_file.metadata import ModelMetadata
from openbook.model_file.opening import ModelFile
from openbook.model_file.quantized_specs import layout_of
from openbook.model_file.tensor_shapes import expected_shapes
from openbook.model_file.torch_dtypes import NumberCast
from openbook.text.tokenizer.special_tokens import SpecialTokens
from openbook.transformer.architecture import Architecture


@dataclass(frozen=True)
class UpdatedWeights:
    """The weights of a model file, with an adapter's updates added to them."""

    weights: SafetensorsWeights
    updates: Mapping[str, Update]

    def read(self, name: str, index: Index) -> Tensor:
        """A tensor; of experts, those that `index` picks."""
        update = self.updates.get(name)
        if update is None:
            return self.weights.read(name, index)
        if index and isinstance(index[0], int):
            whole = update.of_expert(index[0]).added_to(self.weights.read(name, index[:1])[None])[0]
            return whole[index[1:]]
        return update.added_to(self.weights.read(name))[index]


@dataclass(frozen=True)
class Conversion:
    """A model in a family's form; tensors are made when they are read.

    Attributes:
        metadata: of the model file.
        special_tokens: of its tokenizer.
        family: the family whose shape the model has.
        config: the fields of its config.json that describe the architecture.
        architecture: what `config` describes: the model's own, or that with unscaled scores.
        layout: the dtype of the model's matrices, by the names of safetensors, or how they are quantized.
    """

    metadata: ModelMetadata
    special_tokens: SpecialTokens
    family: Family
    config: dict[str, Any]
    architecture: Architecture
    layout: str
    _weights: UpdatedWeights
    _factors: Mapping[str, float]
    _tensors: Mapping[str, tuple[Shape, list[TensorMapping]]]

    @property
    def dtype(self) -> str:
        """The dtype of the model's numbers, by the names of safetensors; F32 for a quantized one."""
        return self.layout if self.layout in DTYPE_NAMES else "F32"

    @property
    def shapes(self) -> dict[str, Shape]:
        """Their tensors, in the order in which the model uses them."""
        return {name: shape for name, (shape, _) in self._tensors.items()}

    def read(self, name: str, cast: NumberCast) -> Tensor:
        """One of their tensors, in the dtype of the cast. Rows that are never used are zero."""
        shape, mappings = self._tensors[name]
        whole = torch.zeros(shape, dtype=cast.dtype)
        for mapping in mappings:
            part = self._weights.read(mapping.ours, mapping.our_index)
            if mapping.ours in self._factors:
                part = part.float() * self._factors[mapping.ours]
            whole[mapping.their_index] = cast(name, part.mT if mapping.transposed else part)
        return whole


def convert(path: Path, model: ModelFile, updates: Mapping[str, Update] | None = None) -> Conversion:
    """The form of the family that has the model's shape.

    Args:
        path: the model file.
        model: the same, opened.
        updates: of an adapter: the update of each weight that it changes.

    Raises:
        OpenbookError: no family has it, or the tokenizer is damaged.
    """
    own = model.metadata.architecture
    family, config, described = choose_family(own)
    stored = model.header.tensors
    return Conversion(
        metadata=model.metadata,
        special_tokens=model.metadata.make_tokenizer().special,
        family=family,
        config=config,
        architecture=described,
        layout=layout_of({info.dtype for info in stored.values()}),
        _weights=UpdatedWeights(
            SafetensorsWeights({name: (path, info) for name, info in stored.items()}), updates or {}
        ),
        _factors=query_factors(own, described),
        _tensors=_their_tensors(described, family),
    )


def choose_family(architecture: Architecture) -> tuple[Family, dict[str, Any], Architecture]:
    """The first family that has this shape, its config.json, and the architecture that this describes.

    That is the given architecture or, where no family has a scale of scores like it, the one with unscaled scores.

    Raises:
        OpenbookError: there is none; names the nearest family, and in what it differs.
    """
    try:
        return _first_that_fits(architecture)
    except OpenbookError:
        unscaled = with_unscaled_scores(architecture)
        if unscaled == architecture:
            raise
        try:
            return _first_that_fits(unscaled)
        except OpenbookError:
            pass
        raise


def _first_that_fits(architecture: Architecture) -> tuple[Family, dict[str, Any], Architecture]:
    nearest: tuple[list[str], Family] | None = None
    refused: list[str] = []
    shapes = expected_shapes(architecture)
    for family in FAMILIES:
        try:
            config = family.write(architecture)
            again = family.read(ConfigFields(config))
        except (OpenbookError, ValidationError):
            continue  # its config.json has no field for something in the architecture
        if again == architecture:
            reason = family.refuses(architecture)
            if reason is not None:
                refused.append(f"{family.name} has this shape, but transformers does not load it: {reason}")
                continue
            try:
                list(tensor_mappings(shapes, family.tables(architecture)[0]))
            except OpenbookError:
                continue
            return family, config, architecture
        differences = list(_differences(asdict(architecture), asdict(again)))
        if nearest is None or len(differences) < len(nearest[0]):
            nearest = differences, family
    if refused:
        raise OpenbookError(refused[0])
    if nearest is None:
        raise OpenbookError("no family of Hugging Face has this shape")
    lacks = ", ".join(nearest[0][:5]) + (" …" if len(nearest[0]) > 5 else "")
    raise OpenbookError(f"no family of Hugging Face has this shape; the nearest, {nearest[1].name}, differs in {lacks}")


def _differences(one: Any, other: Any, path: str = "") -> Iterator[str]:
    """Paths of the fields that differ."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for name in one.keys() | other.keys():
            yield from _differences(one.get(name), other.get(name), f"{path}.{name}" if path else name)
    elif isinstance(one, tuple) and isinstance(other, tuple) and len(one) == len(other):
        found = {each for pair in zip(one, other, strict=True) for each in _differences(*pair, path)}
        yield from sorted(found)
    elif one != other:
        yield path


def _their_tensors(architecture: Architecture, family: Family) -> dict[str, tuple[Shape, list[TensorMapping]]]:
    """Their tensors with shapes, and the mappings to the parts of ours that they are made of."""
    shapes = expected_shapes(architecture)
    parts: dict[str, list[tuple[TensorMapping, Shape]]] = {}
    for mapping in tensor_mappings(shapes, family.tables(architecture)[0]):
        parts.setdefault(mapping.theirs, []).append((mapping, shapes[mapping.ours][len(mapping.our_index) :]))
    return {name: (full_shape(each), [mapping for mapping, _ in each]) for name, each in parts.items()}
